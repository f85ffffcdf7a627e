"""Encoders pretrained on ImageNet: their layers, named as in the published weights.

Their receptive fields are bounded; otherwise tiles could not be predicted exactly. That excludes squeeze and
excitation, which averages over the whole image, and so all EfficientNets but the Lite ones.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

EncoderName = Literal["efficientnet_lite0", "resnet18", "resnet34"]


@dataclass(frozen=True)
class Scaling:
    """Maps normalised intensities, about 0 to 1, to the range that a pretrained encoder was trained on."""

    scale: float
    shift: float


@dataclass(frozen=True)
class Pretrained:
    """An encoder pretrained on ImageNet.

    Attributes
    ----------
    stages : function
        Returns, for a number of channels, modules that each halve the image.
    widths : tuple of int
        Feature maps of each stage.
    scaling : Scaling
    """

    stages: Callable[[int], Iterator[nn.Module]]
    widths: tuple[int, ...]
    scaling: Scaling


class InvertedBottleneck(nn.Sequential):
    """Expansion, depthwise convolution and projection (Sandler et al. 2018, arXiv:1801.04381).

    Padded as in TensorFlow ("same"): a convolution of stride 2 has one more pixel of padding at the end than
    at the beginning, as in the network of the published weights.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        inner = inputs * expansion
        before = (kernel - 2) // 2
        after = kernel - 2 - before
        pad = nn.ZeroPad2d((before, after, before, after)) if stride == 2 else nn.Identity()
        padding = 0 if stride == 2 else kernel // 2
        parts: list[tuple[str, nn.Module]] = []
        if expansion > 1:
            parts += [("expand_conv", nn.Conv2d(inputs, inner, 1, bias=False)), ("bn0", _norm(inner))]
            parts += [("act0", nn.ReLU6(inplace=True))]
        depthwise = nn.Conv2d(inner, inner, kernel, stride, padding, groups=inner, bias=False)
        parts += [("pad", pad), ("depthwise_conv", depthwise), ("bn1", _norm(inner))]
        parts += [("act1", nn.ReLU6(inplace=True))]
        parts += [("project_conv", nn.Conv2d(inner, outputs, 1, bias=False)), ("bn2", _norm(outputs))]
        super().__init__(OrderedDict(parts))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maps (n, outputs, y / stride, x / stride)."""
        return x + super().forward(x) if self.residual else super().forward(x)


def _norm(maps: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(maps, eps=1e-3)


# Rows of table 1 of EfficientNet (Tan and Le 2019, arXiv:1905.11946), the same in EfficientNet-Lite0:
# expansion, kernel, stride, outputs, repeats.
_LITE0 = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
          (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))  # fmt: skip


def _efficientnet_lite0(channels: int) -> Iterator[nn.Module]:
    """Yield the stages of EfficientNet-Lite0, named as in its published weights except for the numbering."""
    stage: list[tuple[str, nn.Module]] = [
        ("pad", nn.ZeroPad2d((0, 1, 0, 1))),
        ("conv_stem", nn.Conv2d(channels, 32, 3, stride=2, bias=False)),
        ("bn0", _norm(32)),
        ("act", nn.ReLU6(inplace=True)),
    ]
    inputs, number = 32, 0
    for expansion, kernel, stride, outputs, repeats in _LITE0:
        if stride == 2:
            yield nn.Sequential(OrderedDict(stage))
            stage = []
        for repeat in range(repeats):
            block = InvertedBottleneck(
                inputs, outputs, kernel=kernel, stride=1 if repeat else stride, expansion=expansion
            )
            stage.append((f"block{number}", block))
            inputs, number = outputs, number + 1
    yield nn.Sequential(OrderedDict(stage))


class BasicBlock(nn.Module):
    """Two convolutions with a residual connection (He et al. 2016, arXiv:1512.03385); torchvision's names."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride == 2:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maps (n, outputs, y / stride, x / stride)."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.downsample(x))


def _resnet(repeats: Sequence[int]) -> Callable[[int], Iterator[nn.Module]]:
    """Return the stages of a ResNet of basic blocks."""

    def stages(channels: int) -> Iterator[nn.Module]:
        stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        yield nn.Sequential(OrderedDict(conv1=stem, bn1=nn.BatchNorm2d(64), relu=nn.ReLU(inplace=True)))
        inputs = 64
        for number, (outputs, count) in enumerate(zip((64, 128, 256, 512), repeats, strict=True), start=1):
            layer = [
                BasicBlock(outputs if repeat else inputs, outputs, 2 if number > 1 and not repeat else 1)
                for repeat in range(count)
            ]
            pool = {"pool": nn.MaxPool2d(3, 2, padding=1)} if number == 1 else {}
            yield nn.Sequential(OrderedDict(pool | {f"layer{number}": nn.Sequential(*layer)}))
            inputs = outputs

    return stages


_TORCHVISION = Scaling(
    1 / 0.226, -0.449 / 0.226
)  # Means and standard deviations of torchvision, averaged over three colours.
PRETRAINED: dict[EncoderName, Pretrained] = {
    "efficientnet_lite0": Pretrained(_efficientnet_lite0, (16, 24, 40, 112, 320), Scaling(2.0, -1.0)),
    "resnet18": Pretrained(_resnet((2, 2, 2, 2)), (64, 64, 128, 256, 512), _TORCHVISION),
    "resnet34": Pretrained(_resnet((3, 4, 6, 3)), (64, 64, 128, 256, 512), _TORCHVISION),
}
