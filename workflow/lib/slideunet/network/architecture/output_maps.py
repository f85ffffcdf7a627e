"""Encoding of output maps as bytes, in which predictions are stored.

foreground, distance, centre    round(255 p), p the sigmoid of the network's output
dy, dx                          128 + pixels down and right to the centre of the cell, -127 to 127

Where the foreground is improbable the other maps are meaningless; they are 0 there, which compresses well.
"""

from collections.abc import Sequence

import torch

from slideunet.model_json import OFFSET_ZERO

OFFSET_UNIT = 8.0  # Pixels per unit of the network's output.
OFFSET_MOST = 127
LEAST_FOREGROUND = 26  # The smallest probability (of 255) with other maps: for thresholds down to 0.1.
OFFSETS = ("dy", "dx")


def to_bytes(output: torch.Tensor, maps: Sequence[str]) -> torch.Tensor:
    """Turn the network's output (n, maps, y, x) into bytes (n, maps, y, x) uint8.

    It is traced into OpenVINO's graph, so it uses operations on tensors only.
    """
    foreground = torch.round(255 * torch.sigmoid(output[:, :1]))
    if len(maps) == 1:
        return foreground.to(torch.uint8)
    valid = (foreground >= LEAST_FOREGROUND).to(output.dtype)
    others = [valid * _byte(output[:, i : i + 1], name) for i, name in enumerate(maps) if i > 0]
    return torch.cat([foreground, *others], dim=1).to(torch.uint8)


def _byte(output: torch.Tensor, name: str) -> torch.Tensor:
    if name not in OFFSETS:
        return torch.round(255 * torch.sigmoid(output))
    return torch.clamp(torch.round(OFFSET_UNIT * output), -OFFSET_MOST, OFFSET_MOST) + OFFSET_ZERO
