"""Ground truth as one label image, out of a label image, a binary mask, OME-Zarr labels or polygons."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import label as connected_components
from skimage.segmentation import relabel_sequential

from slideunet.errors import InputError
from slideunet.images.ngff import is_zarr, read_metadata
from slideunet.images.polygons import is_geojson, open_polygons
from slideunet.images.readers import open_stored
from slideunet.images.source import Stored

BYTE_IDS = 255
CONNECTIVITY = 2
"""Pixels that touch at a corner belong together; else single pixels at a slanted border become cells."""


@dataclass(frozen=True)
class Truth:
    """Labelled cells of one image.

    Attributes
    ----------
    labels : numpy.ndarray
        (y, x) uint32, 0 = background, ids 1..n without gaps.
    warnings : tuple[str, ...]
        What was accepted but deserves a look.
    """

    labels: npt.NDArray[np.uint32]
    warnings: tuple[str, ...]


def open_truth(path: Path, shape: tuple[int, int]) -> Truth:
    """Read the labels of one image and check them.

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
        (y, x) of the image that the labels belong to.

    Returns
    -------
    Truth
        (y, x) uint32 ids, renumbered without gaps in the order of the original ids, and warnings. No cell at
        all is a warning.

    Raises
    ------
    InputError
        The file cannot be read; another shape than the image; RGB; JPEG; values that are no ids; a label
        everywhere; one value in many places that is not one of a mask; 8 bits that were too few for the
        number of cells.
    """
    path = Path(path)
    if path.is_file() and is_geojson(path):
        labels, warnings = open_polygons(path, shape)
        return Truth(*_renumber(labels, warnings))
    stored = open_stored(_find_label_group(path) if path.is_dir() else path)
    _check_form(path, stored, shape)
    ids, warnings = _interpret(path, _whole_numbers(path, stored.pixels[0].compute()))
    if stored.white is not None:
        # ImageJ (inverting look-up table) and tifffile (bool) write it so; both mean the stored value.
        warnings = [
            "zero is declared to mean white (MinIsWhite); values other than 0 are taken as cells",
            *warnings,
        ]
    return Truth(*_renumber(ids, warnings))


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


def _whole_numbers(path: Path, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values (y, x) as non-negative integers or refuse them."""
    if values.dtype.kind not in "buif":
        raise InputError(f"{path}: labels of type {values.dtype} are not ids. Export integers.")
    if values.dtype == bool:
        return values.astype(np.uint8)
    with np.errstate(invalid="ignore"):
        bad = (values < 0) | (values >= 2**63)
        if values.dtype.kind == "f":
            bad |= ~np.isfinite(values) | (values != np.rint(values))
    if bad.any():
        y, x = np.unravel_index(bad.argmax(), bad.shape)
        raise InputError(
            f"{path}: {bad.sum()} values are negative, not whole or not finite, the first is {values[y, x]} "
            f"at y {y}, x {x}. "
            "Ids are whole numbers from 0 (background). Export a label image, not probabilities or distances."
        )
    return values.astype(np.int64) if values.dtype.kind == "f" else values


def _interpret(path: Path, ids: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[str]]:
    """Tell a mask from a label image, and return (y, x) ids with warnings."""
    if ids.min() == ids.max() and ids.min() > 0:
        raise InputError(
            f"{path}: the label {ids.min()} is everywhere, there is no background. Inverted? "
            "Export it again with 0 as background."
        )
    components, count = connected_components(ids, connectivity=CONNECTIVITY, return_num=True)
    id_of_component = np.zeros(count + 1, ids.dtype)
    id_of_component[components] = ids
    present, places = np.unique(id_of_component[1:], return_counts=True)
    if len(present) == 1 and count > 1:
        return components, [_mask_warning(path, ids.dtype, int(present[0]), count)]
    scattered = present[places > 1]
    if not len(scattered):
        return ids, []
    _check_byte_overflow(path, ids, len(present), len(scattered))
    return ids, [
        f"{len(scattered)} of {len(present)} ids lie in several places (the first is "
        f"{scattered[0]}); "
        "each counts as one cell. If they are several cells, export them with ids of their own."
    ]


def _mask_warning(path: Path, dtype: np.dtype, value: int, count: int) -> str:
    if value not in (1, BYTE_IDS, np.iinfo(dtype).max):
        raise InputError(
            f"{path}: the one id {value} lies in {count} places. Whether this is a mask or one cell is "
            "unclear. "
            "Export a mask with 0 and 255, or labels with an id per cell."
        )
    return (
        f"binary mask: touching cells count as one ({count} connected components). "
        "Use a label image if cells touch."
    )


def _check_byte_overflow(path: Path, ids: npt.NDArray[Any], n_ids: int, n_scattered: int) -> None:
    if ids.max() == BYTE_IDS and n_ids == BYTE_IDS:
        raise InputError(
            f"{path}: all 255 ids of 8 bits are used, and {n_scattered} of them in several places. "
            "There were probably more cells than ids. Export the labels with 16 bits."
        )


def _renumber(ids: npt.NDArray[Any], warnings: list[str]) -> tuple[npt.NDArray[np.uint32], tuple[str, ...]]:
    """Make ids 1..n in their order, and add the warnings that hold for every kind of truth."""
    labels, _, original = relabel_sequential(ids)
    n_cells = len(original) - 1  # the background is counted even where there is none
    if n_cells == 0:
        warnings = [*warnings, "mask without a single cell"]
    elif int(ids.max()) != n_cells:
        warnings = [*warnings, f"ids have gaps ({n_cells} ids up to {ids.max()}): renumbered 1 to {n_cells}"]
    return labels.astype(np.uint32), tuple(warnings)
