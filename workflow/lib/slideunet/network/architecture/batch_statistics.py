"""Batch normalisation in the last epochs of a training, with the statistics that prediction uses.

By the statistics of its batch a network can tell a field without cells from one that has some, and in a
prediction, where they are fixed, it cannot: small batches of unlike patches teach it what it does not know
later. Fixed in training too, they leave nothing to tell by but the patch.
"""

import torch
from torch import nn


def first_fixed(epochs: int, share: float) -> int:
    """Return the number, from 0, of the first of so many epochs that belongs to the last share of them.

    A share below 1 leaves at least one epoch before it, in which the statistics are learned.
    """
    return max(epochs - round(share * epochs), int(share < 1))


def fix_statistics(network: nn.Module) -> None:
    """Let batch normalisation use its running statistics, and keep them; its weights are still learned."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@torch.no_grad()
def take_statistics(network: nn.Module, averaged: nn.Module) -> None:
    """Copy the running statistics of an averaged network: they are of more batches than the last few."""
    for buffer, average in zip(network.buffers(), averaged.buffers(), strict=True):
        buffer.copy_(average)
