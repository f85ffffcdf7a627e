"""How large the convolutions of the network are when it predicts a core with context around it."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from slideunet.network.architecture.encoders import Encoder, build_encoder
from slideunet.network.architecture.unet import UNetSpec, decoder_margins

_SINGLE = ("up", "head")  # One tap for each pixel of the result.


@dataclass(frozen=True)
class Convolution:
    """One convolution on a square block.

    Attributes
    ----------
    kind : "1x1", "3x3", "5x5", "7x7", "up" or "head"
        "up" is the 2 x 2 transposed convolution, or the 1 x 1 convolution after up-sampling.
    inputs, outputs : int
        Feature maps.
    side : int
        Of what it makes, in pixels of its level.
    groups : int
        As many as inputs when it is depthwise.
    """

    kind: str
    inputs: int
    outputs: int
    side: int
    groups: int = 1

    @property
    def work(self) -> int:
        """Multiply-accumulates; each output pixel of an "up" has one tap."""
        taps = 1 if self.kind in _SINGLE else int(self.kind[0]) ** 2
        return taps * self.inputs * self.outputs * self.side**2 // self.groups


def convolutions(spec: UNetSpec, core: int, margin: int) -> Iterator[Convolution]:
    """Yield the convolutions of `UNet.forward` in their order.

    Parameters
    ----------
    spec : UNetSpec
    core, margin : int
        Side of the result and context on every side of it, in pixels, multiples of 2^depth.
    """
    encoder = _encoder(spec)
    for level, stage in enumerate([encoder.first, *encoder.stages]):
        yield from _of_stage(stage, level, core + 2 * margin)
    kept, under = margin >> spec.depth, encoder.widths[-1]
    for level, needed in reversed(list(enumerate(decoder_margins(spec.depth)))):
        width, below = spec.width * 2**level, kept
        kept = min(2 * below, needed)
        yield Convolution("up", under, width, (core >> level) + 4 * below)
        yield Convolution("3x3", encoder.widths[level] + width, width, (core >> level) + 2 * kept)
        yield Convolution("3x3", width, width, (core >> level) + 2 * kept)
        under = width
    yield Convolution("head", spec.width, len(spec.maps), core)


def _of_stage(stage: nn.Module, level: int, side: int) -> Iterator[Convolution]:
    """Yield the convolutions of a stage of the encoder, which halves the image somewhere."""
    shift = max(level - 1, 0)
    for module in stage.modules():
        if isinstance(module, nn.MaxPool2d) or getattr(module, "stride", None) == (2, 2):
            shift = level
        if isinstance(module, nn.Conv2d):
            kind = f"{module.kernel_size[0]}x{module.kernel_size[0]}"
            yield Convolution(kind, module.in_channels, module.out_channels, side >> shift, module.groups)


@functools.lru_cache
def _encoder(spec: UNetSpec) -> Encoder:
    """Return the encoder without weights."""
    with torch.device("meta"):
        return build_encoder(spec.encoder, spec.channels, spec.width, spec.depth)


@functools.lru_cache
def least_core(spec: UNetSpec, margin: int, enough: Callable[[Convolution], bool]) -> int:
    """Return the least side of a core, in pixels, whose convolutions of more than one tap are large enough.

    Those of one tap are the ways up and the head, not the 1 x 1 convolutions of an encoder.
    """
    side = spec.multiple
    while not all(enough(found) for found in convolutions(spec, side, margin) if found.kind not in _SINGLE):
        side += spec.multiple
    return side
