"""Ground truth as one label image, from a label image, a binary mask, OME-Zarr labels or polygons."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

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
from slideunet.truth.components import ConnectedComponents, find_components
from slideunet.truth.geojson_reader import is_geojson
from slideunet.truth.ignore_label import IGNORE_LABEL, Replaced, remark_on_ignored
from slideunet.truth.kinds_of_labels import (
    Coded,
    Outline,
    TruthKeys,
    ValueSurvey,
    check_background,
    check_instances,
    survey_values,
)
from slideunet.truth.label_images import AtCentres, Renumbered, StoredIds, present_ids

BYTE_IDS = 255
IN_MEMORY_PIXELS = 2**26
"""Maximum number of pixels of labels in memory; larger ones are lazy."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of one image.

    Attributes
    ----------
    labels : numpy.ndarray or dask.array.Array
        (y, x) uint32, 0 = background, consecutive ids 1..count, `IGNORE_LABEL` where pixels are ignored. Lazy
        for images of more than `IN_MEMORY_PIXELS`.
    warnings : tuple[str, ...]
        Questionable properties that were accepted.
    count : int
        Number of cells.
    outline : "cell", "nucleus" or None
        Which outlines of QuPath's cells these are; None for label images.
    """

    labels: npt.NDArray[np.uint32] | da.Array
    warnings: tuple[str, ...]
    count: int
    outline: Outline | None = None


def open_truth(
    path: Path,
    shape: tuple[int, int],
    *,
    scale: float = 1.0,
    working_shape: tuple[int, int] | None = None,
    mpp: float | None = None,
    **keys: Unpack[TruthKeys],
) -> Truth:
    """Read and check the labels of one image, in memory that does not grow with the image.

    A label image (PNG, TIFF, OME-Zarr) has one id per cell: integers of any width, or floats with whole
    values. Palette indices, and stored values of MinIsWhite images, count as ids. A mask with the single
    value 1, 255 or the maximum of the dtype is split into 8-connected components. Labels whose background is
    doubtful, class maps and soft masks are refused until `background_label` and `kind` settle them. An
    OME-Zarr path is a label image (`image.zarr/labels/cells`) or an image with exactly one. GeoJSON: see
    `polygons.open_polygons`.

    Parameters
    ----------
    path : Path
        File, or folder of an OME-Zarr.
    shape : tuple[int, int]
        (y, x) of the labelled image at full resolution.
    scale : float
        Pixels of the full resolution per working pixel (`working_resolution.open_at`).
    working_shape : tuple[int, int] or None
        (y, x) of the image at the working resolution; None: `shape`.
    mpp : float or None
        Micrometres per pixel of the full resolution, from which coordinates in micrometres are recognised.
    ignore_label : int, optional
        Value of label images whose pixels are excluded.
    background_label : int, optional
        Value of the background of label images. None is 0, unless the values look otherwise.
    kind : "auto", "instances" or "mask"
        Of label images: found from the values, ids as they are, or one mask of all but the background.
    outline : "cell" or "nucleus"
        Of QuPath's cells: the cell's, or its nucleus's.

    Returns
    -------
    Truth
        (y, x) uint32 ids at the working resolution, consecutive in the order of the original ids. Label
        images are sampled at the centre of every working pixel, polygons are rasterised. Warnings report
        empty labels and cells that are too small for the working resolution.

    Raises
    ------
    InputError
        Unreadable file; shape unlike the image's; RGB; JPEG; values that are no ids; no or a doubtful
        background; one id in many places that is no mask value; classes; soft masks; 8-bit ids that ran out.
    """
    path, working_shape = Path(path), working_shape or shape
    if path.is_file() and is_geojson(path):
        # Loads GDAL, which only outlines need.
        from slideunet.truth.polygons import open_polygons

        outline = keys.get("outline", "cell")
        found = open_polygons(path, shape, scale, working_shape, outline=outline, mpp=mpp)
        return replace(_truth(working_shape, *found, ignore_label=True), outline=outline)
    stored = open_stored(_find_label_group(path) if path.is_dir() else path)
    _check_form(path, stored, shape)
    ids, present, warnings = _read_ids(path, StoredIds(path, stored.pixels[0]), keys)
    if stored.white is not None:
        # Written by ImageJ (inverting look-up table) and tifffile (bool), which mean the stored value.
        warnings = [
            "zero is declared to mean white (MinIsWhite); values other than 0 are taken as cells",
            *warnings,
        ]
    if working_shape != shape:
        # Each square needs at most one block of labels at full resolution.
        side = max(int(BlockGrid(shape).side / scale), 1)
        ids = AtCentres(BlockGrid(working_shape, side), ids, scale)
        original, present = present, present_ids(ids)
        if lost := len(original) - len(present):
            warnings.append(f"{lost} of {len(original)} cells are too small for the working resolution")
    return _truth(working_shape, ids, present, warnings, ignore_label=keys.get("ignore_label") is not None)


def _truth(
    shape: tuple[int, int],
    ids: Pixels,
    present: npt.NDArray[np.integer],
    warnings: list[str],
    *,
    ignore_label: bool,
) -> Truth:
    """Renumber ids 1..n in their order, in memory if the image is small."""
    if len(present) == 0:
        warnings = [*warnings, "labels without a single cell"]
    elif int(present[-1]) != len(present):
        gaps = f"ids have gaps ({len(present)} ids up to {present[-1]}): renumbered 1 to {len(present)}"
        warnings = [*warnings, gaps]
    grid = BlockGrid(shape)
    lazy = Renumbered(grid, ids, present, ignore_label)
    if shape[0] * shape[1] <= IN_MEMORY_PIXELS:
        return Truth(lazy[:, :], tuple(warnings), len(present))
    return Truth(lazy_array(lazy, (grid.side, grid.side)), tuple(warnings), len(present))


def _read_ids(
    path: Path, stored: StoredIds, keys: TruthKeys
) -> tuple[Pixels, npt.NDArray[np.integer], list[str]]:
    """Return ids (y, x), the sorted ids that occur, and warnings."""
    ignored, kind = keys.get("ignore_label"), keys.get("kind", "auto")
    coded = Coded(stored, keys.get("background_label") or 0, ignored, mask=kind == "mask")
    components = find_components(coded)
    survey = survey_values(components)
    if len(survey.values):
        check_background(path, survey, keys)
    ids, present, warnings = (
        (components, *_components_of_mask(len(components.ids)))
        if kind == "mask"
        else _interpret(path, coded, components, survey, sure=kind == "instances")
    )
    if ignored is None:
        return ids, present, warnings
    count = sum(int((stored[region] == ignored).sum()) for region in BlockGrid(stored.shape))
    remark = remark_on_ignored(count, stored.shape, f"the value {ignored}")
    return Replaced(ids, stored, ignored, int(IGNORE_LABEL)), present, [*warnings, *remark]


def _components_of_mask(count: int) -> tuple[npt.NDArray[np.integer], list[str]]:
    warning = (
        f"binary mask: touching cells count as one ({count} connected components). "
        "Use a label image if cells touch."
    )
    return np.arange(1, count + 1), [warning] if count else []


def _find_label_group(path: Path) -> Path:
    """Return the path of the label image inside a Zarr image, or the path itself."""
    if not is_zarr(path) or "image-label" in read_metadata(path) or not is_zarr(path / "labels"):
        return path
    names = read_metadata(path / "labels").get("labels", [])
    if len(names) != 1:
        raise InputError(
            f"{path}: has {len(names)} label images ({', '.join(map(str, names))}), but must have one. "
            f"Give the path of one, such as {path / 'labels' / str(names[0] if names else 'cells')}."
        )
    chosen = (path / "labels" / str(names[0])).resolve()
    if not chosen.is_relative_to(path.resolve()):
        raise InputError(f"{path}: the label image {names[0]!r} is outside of it. Correct the metadata.")
    return chosen


def _check_form(path: Path, stored: Stored, shape: tuple[int, int]) -> None:
    """Refuse colour, lossy compression and a shape unlike the image's, before decoding."""
    if stored.lossy:
        raise InputError(
            f"{path}: labels are compressed by JPEG, which changes ids. Export them as PNG or TIFF."
        )
    count, height, width = stored.pixels.shape
    if count != 1:
        raise InputError(
            f"{path}: labels have {count} channels ({', '.join(stored.channels)}), expected is one. "
            "A colour is not an id. Export the ids as 16-bit grey PNG or TIFF."
        )
    if (height, width) != tuple(shape):
        transposed = ": they look transposed" if (width, height) == tuple(shape) else ""
        raise InputError(
            f"{path}: the image is {shape[0]} x {shape[1]} (y x x) but the labels are {height} x "
            f"{width}{transposed}. Export the labels again in the image's size and orientation."
        )


def _interpret(
    path: Path, coded: Coded, components: ConnectedComponents, survey: ValueSurvey, *, sure: bool
) -> tuple[Pixels, npt.NDArray[np.integer], list[str]]:
    """Distinguish masks from label images, which these are if `sure`; return ids, those present, warnings."""
    present, count = survey.values, len(components.ids)
    if len(present) == 1 and count > 1 and not sure:
        _check_mask_value(path, coded.dtype, int(present[0]), count)
        return components, *_components_of_mask(count)
    scattered = present[survey.pieces > 1]
    if not len(scattered):
        return coded, present, []
    if not sure:
        _check_byte_overflow(path, survey)
        check_instances(path, survey)
    warning = (
        f"{len(scattered)} of {len(present)} ids occur in several places (the first is {scattered[0]}); "
        "each counts as one cell. If they are several cells, export them with separate ids."
    )
    return coded, present, [warning]


def _check_mask_value(path: Path, dtype: np.dtype, value: int, count: int) -> None:
    if value not in (1, BYTE_IDS) and (dtype.kind not in "iu" or value != np.iinfo(dtype).max):
        raise InputError(
            f"{path}: the only id {value} occurs in {count} places. It is unclear whether this is a mask or "
            "one cell. Set data.truth to mask or instances, or export a mask with 0 and 255, or labels with "
            "one id per cell."
        )


def _check_byte_overflow(path: Path, survey: ValueSurvey) -> None:
    """Refuse ids that began again after 255: all of them are used, and none stands out as in a soft mask."""
    present, n_scattered = survey.values, int((survey.pieces > 1).sum())
    if len(present) == present[-1] == BYTE_IDS and survey.areas.max() < 5 * np.median(survey.areas):
        raise InputError(
            f"{path}: all 255 ids of 8 bits are used, and {n_scattered} of them in several places. "
            "There were probably more cells than ids. Export the labels with 16 bits."
        )
