"""Weights in half precision: half the bytes, for models that are kept under version control."""

from collections.abc import Mapping

import torch


def halved(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of a network as float16; batch statistics stay as they are.

    The statistics are few, and a variance may lie outside of what float16 can say (6e-8 to 65,504).
    """
    return {
        name: tensor if _is_statistic(name) or not tensor.is_floating_point() else tensor.half()
        for name, tensor in weights.items()
    }


def _is_statistic(name: str) -> bool:
    return "running_" in name
