"""Conversion of stored values to intensities: palette, transparency, inversion and dtype."""

from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError
from slideunet.sources.source import RGB_NAMES, Source, Stored

UNCHANGED = ("uint8", "uint16", "float32")
TO_FLOAT = ("int8", "int16", "float16", "float64")
TO_FLOAT_IF_SMALL = ("int32", "uint32", "int64", "uint64")
EXACT_IN_FLOAT32 = 2**24

BlockInfo = dict[Any, Any] | None


def to_source(stored: Stored, path: Path) -> Source:
    """Apply palette, transparency, inversion and dtype, lazily.

    Returns
    -------
    Source
        uint8, uint16 or float32. A palette is expanded to RGB, or to one channel if all its colours are grey.
        An opaque transparency channel is dropped. MinIsWhite is inverted. A pixel size that cannot be used is
        unknown, with a warning.

    Raises
    ------
    InputError
        Unsupported dtype. When computed: transparent pixels, values that are not finite or too large for
        float32.
    """
    pixels, names, alpha = stored.pixels, stored.channels, stored.alpha
    _check_dtype(path, pixels.dtype)
    if stored.palette is not None:
        pixels, names = _expand_palette(pixels, stored.palette)
        alpha = names[-1] == "alpha"
    if alpha:
        pixels, names = _drop_alpha(pixels, path), names[:-1]
    if stored.white is not None:
        pixels = pixels.dtype.type(stored.white) - pixels
    if pixels.dtype.name not in ("uint8", "uint16"):
        pixels = pixels.map_blocks(partial(_to_float, path=path), dtype=np.float32)
    warnings = (f"{path.name}: {stored.size.problem}",) if stored.size.problem else ()
    colours = stored.colours if len(stored.colours) == len(names) else ()
    return Source(pixels, names, stored.size.mpp, warnings, colours=colours, bits=stored.bits)


def _check_dtype(path: Path, dtype: np.dtype) -> None:
    if dtype == np.dtype(bool):
        raise InputError(
            f"{path}: has 1 bit per pixel, black or white: a mask rather than an image. "
            "Check whether the columns image and labels are swapped; otherwise save it with 8 bits."
        )
    if dtype.name not in (*UNCHANGED, *TO_FLOAT, *TO_FLOAT_IF_SMALL):
        raise InputError(
            f"{path}: pixels of type {dtype} are not supported. "
            "Save it as 8- or 16-bit integers or 32-bit floats."
        )


def _expand_palette(
    pixels: da.Array, palette: npt.NDArray[np.unsignedinteger]
) -> tuple[da.Array, tuple[str, ...]]:
    """Replace indices (1, y, x) by colours, in one channel if all colours are grey."""
    names: tuple[str, ...] = (*RGB_NAMES, "alpha")[: palette.shape[1]]
    if palette.shape[1] == 3 and (palette == palette[:, :1]).all():
        palette, names = palette[:, :1], ("grey",)
    chunks = ((len(names),), *pixels.chunks[1:])
    look_up = partial(_look_up, colours=palette.T)
    return pixels.map_blocks(look_up, dtype=palette.dtype, chunks=chunks), names


def _look_up(block: npt.NDArray[Any], colours: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return colours[:, block[0]]


def _drop_alpha(pixels: da.Array, path: Path) -> da.Array:
    pixels = pixels.rechunk({0: -1})
    chunks = ((pixels.shape[0] - 1,), *pixels.chunks[1:])
    return pixels.map_blocks(partial(_without_alpha, path=path), dtype=pixels.dtype, chunks=chunks)


def _without_alpha(block: npt.NDArray[Any], path: Path, block_info: BlockInfo = None) -> npt.NDArray[Any]:
    opaque = np.iinfo(block.dtype).max if block.dtype.kind in "iu" else 1
    transparent = block[-1:] != opaque
    if transparent.any():
        raise InputError(
            f"{path}: {transparent.sum()} pixels are transparent, {_first_place(transparent, block_info)}. "
            "Transparent pixels have no defined colour. Save it without transparency (flattened)."
        )
    return block[:-1]


def _to_float(block: npt.NDArray[Any], path: Path, block_info: BlockInfo = None) -> npt.NDArray[np.float32]:
    if block.dtype.kind in "iu" and block.dtype.itemsize > 2:
        large = (block > EXACT_IN_FLOAT32) | (block < -EXACT_IN_FLOAT32)
        if large.any():
            raise InputError(
                f"{path}: {large.sum()} values exceed 16,777,216, {_first_place(large, block_info)}. "
                f"Converting {block.dtype} to float32 would round them. Scale the image to 16 bits."
            )
    # Checked after the cast, which turns float64 values beyond float32 into infinity.
    with np.errstate(over="ignore"):
        converted = block.astype(np.float32, copy=False)
    bad = ~np.isfinite(converted)
    if bad.any():
        raise InputError(
            f"{path}: {bad.sum()} values are NaN or infinite as float32, {_first_place(bad, block_info)}. "
            "They would spoil the statistics of the whole image. Replace them and save it again."
        )
    return converted


def _first_place(where: npt.NDArray[np.bool_], block_info: BlockInfo) -> str:
    """Name the first true pixel of a block (c, y, x) in coordinates of the whole image."""
    corner = [start for start, _ in block_info[0]["array-location"]] if block_info else [0, 0, 0]
    place = np.unravel_index(where.argmax(), where.shape)
    _, y, x = (int(i) + c for i, c in zip(place, corner, strict=True))
    return f"the first at y {y}, x {x}"
