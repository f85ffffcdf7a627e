"""The U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with batch normalisation and padded convolutions.

No layer depends on the position or the size of a tile: batch normalisation uses fixed statistics at
inference, and up-sampling is a 2 x 2 transposed convolution or nearest neighbour.
"""

import copy
import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from slideunet.geometry.tiles import Interval
from slideunet.model_json import Head, output_maps
from slideunet.network.architecture.encoders import DoubleConv, build_encoder
from slideunet.network.architecture.imagenet_encoders import EncoderName

Decoder = Literal["transposed", "upsample"]

# Two 3 x 3 convolutions of the first level of an encoder, and as many of the decoder.
_FIRST_MARGIN = 4

# Numbers, or scalar tensors while a graph is traced.
Window = tuple[int | torch.Tensor, int | torch.Tensor, int | torch.Tensor, int | torch.Tensor]


@dataclass(frozen=True)
class UNetSpec:
    """Architecture of a network: everything needed to build it.

    Attributes
    ----------
    channels : int
        Input channels.
    width : int
        Feature maps of the first level, doubled on every level; a pretrained encoder has its own widths.
    depth : int
        Number of times that the image is halved.
    decoder : "transposed" or "upsample"
        2 x 2 transposed convolution, or nearest-neighbour up-sampling followed by a 1 x 1 convolution.
    dropout : float
        Share of feature maps dropped after the encoder's lower half, where most parameters are.
    heads : sequence of "distance" and "centres"
        Output heads besides the foreground, for separating cells that touch.
    encoder : name or None
        Encoder pretrained on ImageNet (`network.architecture.imagenet_encoders`), instead of the U-Net's own.
    members : int
        Networks of this architecture whose outputs are averaged (`network.architecture.ensemble`).
    head_stride : int
        Stride at which the decoder ends, 2^n. From 2 on nothing is computed at full resolution: the head
        gives each pixel of a stride x stride square (sub-pixel convolution, Shi et al. 2016,
        arXiv:1609.05158).
    """

    channels: int
    width: int
    depth: int
    decoder: Decoder = "transposed"
    dropout: float = 0.0
    heads: tuple[Head, ...] = ()
    encoder: EncoderName | None = None
    members: int = 1
    head_stride: int = 1

    def __post_init__(self) -> None:
        # JSON gives a list, which is not hashable.
        object.__setattr__(self, "heads", tuple(self.heads))
        if self.head_stride not in [2**level for level in range(self.depth)]:
            raise ValueError(f"head_stride {self.head_stride} is not a power of two below 2^{self.depth}")

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the output's maps, the foreground first."""
        return output_maps(self.heads)

    @property
    def multiple(self) -> int:
        """Sides of the input must be multiples of this: 2^depth."""
        return 2**self.depth

    @property
    def finest(self) -> int:
        """Finest level that the decoder computes, 0 being the full resolution."""
        return self.head_stride.bit_length() - 1

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for `model.json`."""
        return asdict(self)


PRESETS: dict[str, dict[str, Any]] = {
    "light": {"width": 16, "depth": 4, "decoder": "transposed"},
    "standard": {"width": 32, "depth": 4, "decoder": "transposed"},
    "fast": {"width": 12, "depth": 4, "decoder": "transposed", "head_stride": 2},
    # Two levels of 64 and 128 feature maps above a bottom of 256, with up-sampling.
    "classic": {"width": 64, "depth": 2, "decoder": "upsample"},
}


class UNet(nn.Module):
    """Encoder and decoder with skip connections by concatenation.

    Input (n, channels, y, x) float32 with sides that are multiples of 2^depth; output (n, maps, y, x): the
    foreground logit, then the maps of the heads.
    """

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = build_encoder(
            spec.encoder, spec.channels, spec.width, spec.depth, full=spec.finest == 0
        )
        self.dropout = nn.Dropout2d(spec.dropout)
        widths = [spec.width * 2**level for level in range(spec.depth)]
        skipped, (*_, bottom) = self.encoder.widths[:-1], self.encoder.widths
        below = [*widths[1:], bottom]
        levels = list(zip(below, widths, skipped, strict=True))[spec.finest :][::-1]
        self.up = nn.ModuleList(_up(under, width, spec.decoder) for under, width, _ in levels)
        self.decoder = nn.ModuleList(DoubleConv(skip + width, width) for _, width, skip in levels)
        self.head = nn.Conv2d(widths[spec.finest], len(spec.maps) * spec.head_stride**2, kernel_size=1)

    def forward(self, x: torch.Tensor, margin: int = 0, window: Window | None = None) -> torch.Tensor:
        """Return the maps (n, maps, y, x), without a margin that is only context.

        Parameters
        ----------
        x : tensor (n, channels, y, x)
        margin : int
            Pixels to cut off on every side, a multiple of 2^depth. The decoder computes only those of them
            that its convolutions need; the remaining values equal those of the whole pass, bit for bit.
        window : (top, left, height, width), optional
            Part of x, margin included, that the decoder computes, in units of 2^depth pixels; the encoder
            computes all of x, but for the first level of a pretrained one. None: all of x.

        Raises
        ------
        ValueError
            When `margin` is not a multiple of 2^depth.
        """
        if margin % self.spec.multiple:
            raise ValueError(f"margin {margin} is not a multiple of {self.spec.multiple} (2^depth)")
        (*skips, x), margins = self._encode(x, margin, window)
        kept = margin >> self.spec.depth
        levels = list(zip(skips, margins, decoder_margins(self.spec), strict=True))
        for index, (skip, around, need) in enumerate(reversed(levels)):
            has, kept = 2 * kept, min(2 * kept, need)
            x = self.decode(index, _crop(skip, around - kept), x, has - kept)
        x = self.head(_crop(x, kept))
        return functional.pixel_shuffle(x, self.spec.head_stride) if self.spec.finest else x

    def _encode(
        self, x: torch.Tensor, margin: int, window: Window | None
    ) -> tuple[list[torch.Tensor], list[int]]:
        """Return the maps of a window that the decoder reads, and the margin of each but the deepest."""
        spec, part = self.spec, None
        margins = [margin >> level for level in range(spec.depth)]
        if spec.encoder is not None and margin >= _FIRST_MARGIN:
            part = _crop(x if window is None else _cut(x, window, spec.multiple), margin - _FIRST_MARGIN)
            margins[0] = _FIRST_MARGIN
        maps = self.encoder(x, self.dropout, part)
        if window is not None:
            first = maps[0] if part is not None else _cut(maps[0], window, spec.multiple)
            below = enumerate(maps[1:], start=1)
            maps = [first, *(_cut(level, window, spec.multiple >> index) for index, level in below)]
        return maps[spec.finest :], margins[spec.finest :]

    def decode(self, index: int, skip: torch.Tensor, x: torch.Tensor, crop: int) -> torch.Tensor:
        """Return the maps of a decoder level, the deepest being 0.

        Parameters
        ----------
        skip : tensor (n, maps skipped, y, x)
            From the encoder.
        x : tensor (n, maps below, y / 2 + crop, x / 2 + crop)
            From the level below.
        crop : int
            Pixels to cut off on every side of the up-sampled x.
        """
        return self.decoder[index](torch.cat([skip, _crop(self.up[index](x), crop)], dim=1))

    def with_heads(self, heads: Sequence[Head]) -> "UNet":
        """Return a copy that computes only some of the heads, and always the foreground."""
        kept = copy.deepcopy(self)
        kept.spec = replace(self.spec, heads=tuple(head for head in self.spec.heads if head in heads))
        rows = [self.spec.maps.index(name) for name in kept.spec.maps]
        kept.head = nn.Conv2d(self.head.in_channels, len(rows) * self.spec.head_stride**2, kernel_size=1)
        kept.head.load_state_dict(
            {name: values[rows].flatten(0, 1) for name, values in self.head_rows().items()}
        )
        return kept.train(self.training)

    def head_rows(self) -> dict[str, torch.Tensor]:
        """Return views of the head's weight (maps, stride^2, inputs, 1, 1) and bias (maps, stride^2)."""
        maps = len(self.spec.maps)
        return {name: values.unflatten(0, (maps, -1)) for name, values in self.head.state_dict().items()}


@functools.lru_cache
def decoder_margins(spec: UNetSpec) -> tuple[int, ...]:
    """Return the margin around the output that the input of each decoder level needs, in pixels of the level.

    Two 3 x 3 convolutions need 2 px more than they give; a 2 x 2 up-sampling needs half as many, rounded up.

    Returns
    -------
    tuple of int
        One per level, the finest first: 2, 3, 4, 4 ... at every depth.
    """
    margins = [2]
    while len(margins) < spec.depth - spec.finest:
        margins.append(-(-margins[-1] // 2) + 2)
    return tuple(margins)


def border_margin(spec: UNetSpec) -> int:
    """Return the context in pixels, a multiple of 2^depth, that the decoder needs around its output.

    With this margin the decoder's own padding never reaches the output: 2, 8, 16, 32, 64 px at depths 1 to 5.
    """
    return -(-decoder_margins(spec)[-1] // 2) * spec.multiple


def core_window(core: tuple[Interval, Interval], margin: int, spec: UNetSpec) -> Window:
    """Return the window of a core ((y0, y1), (x0, x1)) in an array, with a margin in pixels around it."""
    (top, bottom), (left, right) = (
        ((start - margin) // spec.multiple, (stop + margin) // spec.multiple) for start, stop in core
    )
    return top, left, bottom - top, right - left


def _cut(x: torch.Tensor, window: Window, scale: int) -> torch.Tensor:
    top, left, height, width = window
    return x[..., top * scale : (top + height) * scale, left * scale : (left + width) * scale]


def _crop(x: torch.Tensor, margin: int) -> torch.Tensor:
    return x[..., margin:-margin, margin:-margin] if margin else x


def channels_last(network: UNet) -> UNet:
    """Convert the weights to channels last, in place: faster on CPUs and on tensor cores."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _up(inputs: int, outputs: int, decoder: Decoder) -> nn.Module:
    if decoder == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(inputs, outputs, kernel_size=1)
    )
