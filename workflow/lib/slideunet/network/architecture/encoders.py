"""Encoders: the U-Net's own, and those of networks pretrained on ImageNet."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from slideunet.network.architecture.imagenet_encoders import PRETRAINED, EncoderName, Scaling


class Encoder(nn.Module):
    """Computes feature maps of an image at every level, each half as large as the one before.

    Attributes
    ----------
    widths : list of int
        Feature maps of each level, the full resolution first.
    """

    def __init__(
        self, first: nn.Module, stages: Sequence[nn.Module], widths: list[int], scaling: Scaling | None = None
    ) -> None:
        super().__init__()
        self.first = first
        self.stages = nn.ModuleList(stages)
        self.widths = widths
        self.scaling = scaling

    def forward(
        self, x: torch.Tensor, dropout: nn.Module, part: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Return the maps of all levels of images (n, channels, y, x), with dropout in the lower half.

        With a part of the images, the first level is computed of it alone. Only the stages of a pretrained
        encoder, which read the images themselves, allow that.
        """
        levels = [self.first(x if part is None else part)]
        x = levels[0] if self.scaling is None else self.scaling.scale * x + self.scaling.shift
        for level, stage in enumerate(self.stages, start=1):
            x = stage(x)
            if 2 * level >= len(self.stages):
                x = dropout(x)
            levels.append(x)
        return levels


class DoubleConv(nn.Sequential):
    """Two times: 3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(*_conv(inputs, outputs), *_conv(outputs, outputs))


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def build_encoder(
    name: EncoderName | None, channels: int, width: int, depth: int, *, full: bool = True
) -> Encoder:
    """Return an encoder with random weights.

    Parameters
    ----------
    name : str or None
        Key of `PRETRAINED`; None is the U-Net's own: maximum pooling and two convolutions per level.
    channels : int
    width : int
        Feature maps of the first level; the U-Net's own encoder doubles them on every level.
    depth : int
        Number of times that the image is halved, at most 5.
    full : bool
        Whether feature maps are computed at full resolution. Otherwise the first level is the image, and the
        U-Net's own next level begins with a convolution of squares of 2 x 2 px.
    """
    first, least = (DoubleConv(channels, width), width) if full else (nn.Identity(), channels)
    if name is None:
        widths = [width * 2**level for level in range(depth + 1)]
        return Encoder(first, _own_stages(channels, widths, full), [least, *widths[1:]])
    pretrained = PRETRAINED[name]
    stages = [stage for stage, _ in zip(pretrained.stages(channels), range(depth), strict=False)]
    return Encoder(first, stages, [least, *pretrained.widths[:depth]], pretrained.scaling)


def _own_stages(channels: int, widths: Sequence[int], full: bool) -> list[nn.Module]:
    stages: list[nn.Module] = [
        nn.Sequential(nn.MaxPool2d(2), DoubleConv(*pair)) for pair in itertools.pairwise(widths)
    ]
    if not full:
        squares = nn.Conv2d(channels, 4 * channels, kernel_size=2, stride=2)
        stages[0] = nn.Sequential(squares, DoubleConv(4 * channels, widths[1]))
    return stages
