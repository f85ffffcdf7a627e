"""The maps of a network as bytes: what is stored of a prediction.

foreground, distance, centre    round(255 p), p the sigmoid of the network's output
dy, dx                          128 + pixels down and right to the centre of the cell, -127 to 127

Where the foreground is improbable the other maps mean nothing; they are 0 there, which takes no room.
"""

from collections.abc import Sequence

import torch

from slideunet.model_json import OFFSET_ZERO

OFFSET_UNIT = 8.0  # Pixels that 1 in the network's output stands for.
OFFSET_MOST = 127
LEAST_FOREGROUND = 26  # The smallest probability (of 255) that has other maps: thresholds down to 0.1.
OFFSETS = ("dy", "dx")


def to_bytes(output: torch.Tensor, maps: Sequence[str]) -> torch.Tensor:
    """Turn the network's output (n, maps, y, x) into bytes (n, maps, y, x) uint8.

    It is part of OpenVINO's graph as it is, so it holds nothing but operations on tensors.
    """
    foreground = torch.round(255 * torch.sigmoid(output[:, :1]))
    if len(maps) == 1:
        return foreground.to(torch.uint8)
    meant = (foreground >= LEAST_FOREGROUND).to(output.dtype)
    others = [meant * _byte(output[:, i : i + 1], name) for i, name in enumerate(maps) if i > 0]
    return torch.cat([foreground, *others], dim=1).to(torch.uint8)


def _byte(output: torch.Tensor, name: str) -> torch.Tensor:
    if name not in OFFSETS:
        return torch.round(255 * torch.sigmoid(output))
    return torch.clamp(torch.round(OFFSET_UNIT * output), -OFFSET_MOST, OFFSET_MOST) + OFFSET_ZERO
