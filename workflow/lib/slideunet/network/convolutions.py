"""How large the convolutions of the network are when it predicts a core with context around it."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slideunet.network.unet import UNetSpec, decoder_margins


@dataclass(frozen=True)
class Convolution:
    """One convolution on a square block.

    Attributes
    ----------
    kind : "3x3", "up" or "head"
        "up" is the 2 x 2 transposed convolution, or the 1 x 1 convolution after up-sampling.
    inputs, outputs : int
        Feature maps.
    side : int
        Of what it makes, in pixels of its level.
    """

    kind: str
    inputs: int
    outputs: int
    side: int

    @property
    def work(self) -> int:
        """Multiply-accumulates; each output pixel of an "up" has one tap."""
        taps = 9 if self.kind == "3x3" else 1
        return taps * self.inputs * self.outputs * self.side**2


def convolutions(spec: UNetSpec, core: int, margin: int) -> Iterator[Convolution]:
    """Yield the convolutions of `UNet.forward` in their order.

    Parameters
    ----------
    spec : UNetSpec
    core, margin : int
        Side of the result and context on every side of it, in pixels, multiples of 2^depth.
    """
    widths = [spec.width * 2**level for level in range(spec.depth + 1)]
    for level, (inputs, width) in enumerate(zip([spec.channels, *widths], widths, strict=False)):
        side = (core + 2 * margin) >> level
        yield Convolution("3x3", inputs, width, side)
        yield Convolution("3x3", width, width, side)
    kept = margin >> spec.depth
    for level, needed in reversed(list(enumerate(decoder_margins(spec.depth)))):
        width, below = widths[level], kept
        kept = min(2 * below, needed)
        yield Convolution("up", 2 * width, width, (core >> level) + 4 * below)
        yield Convolution("3x3", 2 * width, width, (core >> level) + 2 * kept)
        yield Convolution("3x3", width, width, (core >> level) + 2 * kept)
    yield Convolution("head", spec.width, 1, core)


@functools.lru_cache
def least_core(spec: UNetSpec, margin: int, enough: Callable[[Convolution], bool]) -> int:
    """Return the least side of a core, in pixels, all of whose 3 x 3 convolutions are large enough."""
    side = spec.multiple
    while not all(enough(found) for found in convolutions(spec, side, margin) if found.kind == "3x3"):
        side += spec.multiple
    return side
