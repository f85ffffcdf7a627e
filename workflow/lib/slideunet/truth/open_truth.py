"""Ground truth as one label image, out of a label image, a binary mask, OME-Zarr labels or polygons."""

from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError
from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.pixels import Pixels
from slideunet.readers.omezarr_reader import is_zarr, read_metadata
from slideunet.readers.open_source import open_stored
from slideunet.sources.lazy_pixels import lazy_array
from slideunet.sources.source import Stored
from slideunet.truth.components import find_components
from slideunet.truth.geojson_reader import is_geojson
from slideunet.truth.ignore_label import UNJUDGED, Replaced
from slideunet.truth.label_images import AtCentres, Renumbered, StoredIds, present_ids
from slideunet.truth.polygons import open_polygons

BYTE_IDS = 255
WHOLE = 2**26
"""Pixels up to which labels are given as an array in memory; others are made when they are asked for."""


@dataclass(frozen=True)
class Truth:
    """Labelled cells of one image.

    Attributes
    ----------
    labels : numpy.ndarray or dask.array.Array
        (y, x) uint32, 0 = background, ids 1..count without gaps, `UNJUDGED` where nobody has judged. Lazy for
        images of more than 64 Mpx.
    warnings : tuple[str, ...]
        What was accepted but deserves a look.
    count : int
        The number of cells.
    """

    labels: npt.NDArray[np.uint32] | da.Array
    warnings: tuple[str, ...]
    count: int


def open_truth(
    path: Path,
    shape: tuple[int, int],
    *,
    scale: float = 1.0,
    working_shape: tuple[int, int] | None = None,
    unjudged: int | None = None,
) -> Truth:
    """Read the labels of one image and check them, in memory that does not grow with the image.

    A label image (PNG, TIFF, OME-Zarr) has an id per cell: integers of any width, or floats with whole
    values; the indices of a palette count as ids, and so do the stored values where zero means white. A mask
    with the one value 1, 255 or the dtype's maximum is divided into 8-connected components. An OME-Zarr is a
    label image itself (`image.zarr/labels/cells`) or an image with exactly one. GeoJSON: see
    `polygons.open_polygons`.

    Parameters
    ----------
    path : Path
        File, or folder of an OME-Zarr.
    shape : tuple[int, int]
        (y, x) of the image that the labels belong to, at full resolution.
    scale : float
        Pixels of the full resolution per pixel of the working resolution (`resampling.open_at`).
    working_shape : tuple[int, int] or None
        (y, x) of the image at the working resolution; None: `shape`.
    unjudged : int or None
        Value of label images that stands for pixels which nobody has judged.

    Returns
    -------
    Truth
        (y, x) uint32 ids at the working resolution, renumbered without gaps in the order of the original ids,
        and warnings. Label images are taken at the centre of every working pixel, polygons are drawn anew.
        No cell at all is a warning, and so are cells that are too small to be seen at that resolution.

    Raises
    ------
    InputError
        The file cannot be read; another shape than the image; RGB; JPEG; values that are no ids; a label
        everywhere; one value in many places that is not one of a mask; 8 bits that were too few for the
        number of cells.
    """
    path, working_shape = Path(path), working_shape or shape
    if path.is_file() and is_geojson(path):
        return _truth(working_shape, *open_polygons(path, shape, scale, working_shape), unjudged=True)
    stored = open_stored(_find_label_group(path) if path.is_dir() else path)
    _check_form(path, stored, shape)
    ids, present, warnings = _read_ids(path, StoredIds(path, stored.pixels[0]), unjudged)
    if stored.white is not None:
        # ImageJ (inverting look-up table) and tifffile (bool) write it so; both mean the stored value.
        warnings = [
            "zero is declared to mean white (MinIsWhite); values other than 0 are taken as cells",
            *warnings,
        ]
    if working_shape != shape:
        # Squares that are small enough for the labels of a block of the full resolution.
        side = max(int(BlockGrid(shape).side / scale), 1)
        ids = AtCentres(BlockGrid(working_shape, side), ids, scale)
        kept = present_ids(ids)
        if len(kept) < len(present):
            lost = len(present) - len(kept)
            warnings.append(f"{lost} of {len(present)} cells are too small for the working resolution")
        present = kept
    return _truth(working_shape, ids, present, warnings, unjudged=unjudged is not None)


def _truth(
    shape: tuple[int, int],
    ids: Pixels,
    present: npt.NDArray[np.integer],
    warnings: list[str],
    *,
    unjudged: bool,
) -> Truth:
    """Make ids 1..n in their order, in memory where the image is small."""
    if len(present) == 0:
        warnings = [*warnings, "mask without a single cell"]
    elif int(present[-1]) != len(present):
        gaps = f"ids have gaps ({len(present)} ids up to {present[-1]}): renumbered 1 to {len(present)}"
        warnings = [*warnings, gaps]
    grid = BlockGrid(shape)
    lazy = Renumbered(grid, ids, present, unjudged)
    if shape[0] * shape[1] <= WHOLE:
        return Truth(lazy[:, :], tuple(warnings), len(present))
    return Truth(lazy_array(lazy, (grid.side, grid.side)), tuple(warnings), len(present))


def _read_ids(
    path: Path, stored: StoredIds, unjudged: int | None
) -> tuple[Pixels, npt.NDArray[np.integer], list[str]]:
    """Return (y, x) ids, those that are there, and warnings; `unjudged` is stored where nobody has judged."""
    if unjudged is None:
        return _interpret(path, stored)
    ids, present, warnings = _interpret(path, Replaced(stored, stored, unjudged, 0))
    return Replaced(ids, stored, unjudged, int(UNJUDGED)), present, warnings


def _find_label_group(path: Path) -> Path:
    """Return the label image that a Zarr image contains, or the path itself."""
    if not is_zarr(path) or "image-label" in read_metadata(path) or not is_zarr(path / "labels"):
        return path
    names = read_metadata(path / "labels").get("labels", [])
    if len(names) != 1:
        raise InputError(
            f"{path}: has {len(names)} label images ({', '.join(map(str, names))}). Which one is meant is "
            "unclear. "
            f"Give the path of one, such as {path / 'labels' / str(names[0] if names else 'cells')}."
        )
    chosen = (path / "labels" / str(names[0])).resolve()
    if not chosen.is_relative_to(path.resolve()):
        raise InputError(f"{path}: the label image {names[0]!r} lies outside of it. Correct the metadata.")
    return chosen


def _check_form(path: Path, stored: Stored, shape: tuple[int, int]) -> None:
    """Refuse colour, lossy compression and another shape, before decoding."""
    if stored.lossy:
        raise InputError(
            f"{path}: labels are compressed by JPEG. It changes values, so ids are lost. Export them as PNG "
            "or TIFF."
        )
    count, *own = stored.pixels.shape
    if count != 1:
        raise InputError(
            f"{path}: labels have {count} channels ({', '.join(stored.channels)}), one is expected. "
            "A colour is not an id. Export the ids as 16-bit grey PNG or TIFF."
        )
    if tuple(own) != tuple(shape):
        turned = ": they look transposed" if tuple(own) == tuple(shape)[::-1] else ""
        raise InputError(
            f"{path}: the image is {shape[0]} x {shape[1]} (y x x) but the labels are {own[0]} x "
            f"{own[1]}{turned}. "
            "Each pixel needs its own label. Export the labels again in the image's size and orientation."
        )


def _interpret(path: Path, ids: StoredIds | Replaced) -> tuple[Pixels, npt.NDArray[np.integer], list[str]]:
    """Tell a mask from a label image, and return (y, x) ids, those that are there, and warnings."""
    components = find_components(ids)
    present, places = np.unique(components.ids, return_counts=True)
    count = len(components.ids)
    if len(present) == 1 and not components.background:
        raise InputError(
            f"{path}: the label {present[0]} is everywhere, there is no background. Inverted? "
            "Export it again with 0 as background."
        )
    if len(present) == 1 and count > 1:
        warning = _mask_warning(path, ids.dtype, int(present[0]), count)
        return components, np.arange(1, count + 1), [warning]
    scattered = present[places > 1]
    if not len(scattered):
        return ids, present, []
    _check_byte_overflow(path, present, len(scattered))
    return (
        ids,
        present,
        [
            f"{len(scattered)} of {len(present)} ids lie in several places (the first is "
            f"{scattered[0]}); "
            "each counts as one cell. If they are several cells, export them with ids of their own."
        ],
    )


def _mask_warning(path: Path, dtype: np.dtype, value: int, count: int) -> str:
    if value not in (1, BYTE_IDS) and (dtype.kind not in "iu" or value != np.iinfo(dtype).max):
        raise InputError(
            f"{path}: the one id {value} lies in {count} places. Whether this is a mask or one cell is "
            "unclear. "
            "Export a mask with 0 and 255, or labels with an id per cell."
        )
    return (
        f"binary mask: touching cells count as one ({count} connected components). "
        "Use a label image if cells touch."
    )


def _check_byte_overflow(path: Path, present: npt.NDArray[np.integer], n_scattered: int) -> None:
    if len(present) == present[-1] == BYTE_IDS:
        raise InputError(
            f"{path}: all 255 ids of 8 bits are used, and {n_scattered} of them in several places. "
            "There were probably more cells than ids. Export the labels with 16 bits."
        )
