"""How large a tile should be: large ones waste less on context, small ones need less memory.

The time per multiply-accumulate is the same for tiles of any size (docs/performance.md), so caches have no
say here.
"""

from slideunet.model_json import Precision
from slideunet.network.architecture.unet import UNetSpec
from slideunet.network.inference.convolutions import convolutions

MEMORY = 1_500_000_000  # Bytes for one tile, in a worker of 2 GB.
_SMALLEST, _WORTH = 256, 0.05
_BYTES = {"fp32": 4, "bf16": 2}
_MAPS = 6  # Measured 3.7 to 4.8 with OpenVINO and 5.2 to 5.8 with torch.


def work_per_pixel(spec: UNetSpec, tile: int, halo: int) -> float:
    """Return the multiply-accumulates per pixel of the result, context included."""
    return sum(found.work for found in convolutions(spec, tile, halo)) / tile**2


def peak_bytes(spec: UNetSpec, tile: int, halo: int, precision: Precision) -> int:
    """Return the memory that one tile needs: six times the feature maps of the first level, context included.

    It comes on top of what a process with a loaded network holds, about 400 MB.
    """
    return _MAPS * spec.width * _BYTES[precision] * (tile + 2 * halo) ** 2


def best_tile(spec: UNetSpec, halo: int, precision: Precision, memory: int = MEMORY) -> int:
    """Choose the side of a tile: doubled from 256 px while that saves 5 % of the work and fits into memory.

    Parameters
    ----------
    spec : UNetSpec
    halo : int
        Context in pixels.
    precision : "fp32" or "bf16"
    memory : int, optional
        Bytes for one tile at a time; see `peak_bytes`.

    Returns
    -------
    int
        In pixels; 2048 for the preset `light` in bf16, less for what needs more memory.
    """
    tile = _SMALLEST
    while True:
        saved = 1 - work_per_pixel(spec, 2 * tile, halo) / work_per_pixel(spec, tile, halo)
        fits = peak_bytes(spec, 2 * tile, halo, precision) <= memory
        if saved < _WORTH or not fits:
            return tile
        tile *= 2
