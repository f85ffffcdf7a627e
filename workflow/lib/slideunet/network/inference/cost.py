"""Cost of a tile: the convolutions that the network computes for it, and from them the best side of a tile.

Large tiles waste less on context, small ones need less memory. The time per multiply-accumulate is the same
for tiles of any size (docs/performance.md), so caches are not modelled.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from slideunet.model_json import Precision
from slideunet.network.architecture.unet import UNet, UNetSpec, border_margin, core_window

MEMORY = 1_500_000_000  # Bytes for one tile, in a worker of 2 GB.
# OpenVINO may add in another order for narrower feature maps, torch for a convolution of one image with at
# most so many inputs: the last bits of float32 differ.
_NARROW, _FEW = 16, 20480
_SMALLEST, _WORTH = 256, 0.05
_BYTES = {"fp32": 4, "bf16": 2, "int8": 4, "int8-bf16": 2}  # With int8 some maps stay float.
_MAPS = 6  # Measured 3.7 to 4.8 with OpenVINO and 5.2 to 5.8 with torch.


@dataclass(frozen=True)
class Convolution:
    """One convolution on a square tile.

    Attributes
    ----------
    part : "encoder", "up", "decoder" or "head"
        Part of the network.
    taps : int
        Input pixels of an output pixel: 9 for 3 x 3, and 1 for a 2 x 2 transposed convolution.
    inputs, outputs : int
        Feature maps.
    side : int
        Side of the output, in pixels of its level.
    groups : int
        Equal to inputs for a depthwise convolution.
    """

    part: str
    taps: int
    inputs: int
    outputs: int
    side: int
    groups: int = 1

    @property
    def work(self) -> int:
        """Multiply-accumulates."""
        return self.taps * self.inputs * self.outputs * self.side**2 // self.groups


@functools.lru_cache(maxsize=1024)
def convolutions(spec: UNetSpec, core: int, halo: int) -> tuple[Convolution, ...]:
    """Return the convolutions of one pass, in their order: the network is run on a batch of no images.

    Its layers compute the shapes of their outputs, and nothing else. Tensors on the device "meta" would do
    as well, but torch then imports SymPy and its compiler, which takes a second of CPU.

    Parameters
    ----------
    spec : UNetSpec
    core, halo : int
        Side of the result and context on every side of it, in pixels, multiples of 2^depth.
    """
    found: list[Convolution] = []
    side, margin = core + 2 * halo, min(halo, border_margin(spec))
    span = (halo, halo + core)
    # The weights do not matter, but a training must draw the same numbers as without this.
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        network = UNet(spec).eval()
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(_note(found, name.split(".")[0]))
        network(torch.empty(0, spec.channels, side, side), margin, core_window((span, span), margin, spec))
    return tuple(found)


def _note(found: list[Convolution], part: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
    def note(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        taps = module.kernel_size[0] ** 2 if isinstance(module, nn.Conv2d) else 1
        side = output.shape[-1]
        found.append(Convolution(part, taps, module.in_channels, module.out_channels, side, module.groups))

    return note


@functools.lru_cache
def least_core(spec: UNetSpec) -> int:
    """Return the least side of a core, in pixels, at which the engines compute each pixel as in larger ones.

    It has no more context than at the border of a slide. Up-sampling and the head, with one tap per pixel, do
    not count.
    """
    margin = border_margin(spec)
    side = _NARROW * spec.multiple - 2 * margin  # The deepest level needs as much at least.
    while not all(map(_usual, convolutions(spec, side, margin))):
        side += spec.multiple
    return side


def _usual(convolution: Convolution) -> bool:
    if convolution.part in ("up", "head"):
        return True
    side = convolution.side
    return side >= _NARROW and convolution.inputs * side**2 > _FEW


def work_per_pixel(spec: UNetSpec, tile: int, halo: int) -> float:
    """Return the multiply-accumulates per pixel of the result, context included."""
    return sum(found.work for found in convolutions(spec, tile, halo)) / tile**2


def peak_bytes(spec: UNetSpec, tile: int, halo: int, precision: Precision) -> int:
    """Return the memory that one tile needs: six times the feature maps of the first level, context included.

    A process with a loaded network needs about 400 MB besides.
    """
    side = tile + 2 * halo
    return array_bytes(spec, (side, side), precision)


def array_bytes(spec: UNetSpec, shape: Sequence[int], precision: Precision) -> int:
    """Return the memory that an array (y, x) needs, its context included; see `peak_bytes`."""
    return _MAPS * spec.width * _BYTES[precision] * math.prod(shape)


@functools.lru_cache
def best_tile(spec: UNetSpec, halo: int, precision: Precision, memory: int) -> int:
    """Choose the side of a tile: doubled from 256 px while that saves 5 % of the work and fits into memory.

    Parameters
    ----------
    spec : UNetSpec
    halo : int
        Context in pixels.
    precision : "fp32" or "bf16"
    memory : int
        Bytes for one tile at a time; see `peak_bytes`.

    Returns
    -------
    int
        Side in pixels; 2048 for the preset `light` in bf16, less for networks that need more memory.
    """
    tile = _SMALLEST
    while True:
        saved = 1 - work_per_pixel(spec, 2 * tile, halo) / work_per_pixel(spec, tile, halo)
        fits = peak_bytes(spec, 2 * tile, halo, precision) <= memory
        if saved < _WORTH or not fits:
            return tile
        tile *= 2
