"""Frozen batch-norm statistics in the last epochs of a training, as in prediction.

With batch statistics, the output for a patch depends on the other patches of its batch: from them a network
can recognise a negative patch. In prediction the statistics are fixed and carry no such information. When
they are frozen in training too, the network has to decide from the patch alone.
"""

import torch
from torch import nn


def first_fixed(epochs: int, share: float) -> int:
    """Return the index, from 0, of the first epoch with frozen statistics, in the last share of the epochs.

    With a share below 1 at least one epoch before it updates the statistics.
    """
    return max(epochs - round(share * epochs), int(share < 1))


def fix_statistics(network: nn.Module) -> None:
    """Freeze the running statistics of batch normalisation; its weights are still trained."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@torch.no_grad()
def take_statistics(network: nn.Module, averaged: nn.Module) -> None:
    """Copy the running statistics of an averaged network: they are averages over more batches."""
    for buffer, average in zip(network.buffers(), averaged.buffers(), strict=True):
        buffer.copy_(average)
