"""The label image of the cells as a pyramidal OME-TIFF, for viewers that do not read OME-Zarr."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from slideunet.geometry.blocks import BlockGrid
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.files import replacing

_TILE = 512
_SIGNED = "slideunet "  # Before the fingerprint, in the tag that names the software.


def write_ome_tiff(prediction: Path, path: Path) -> None:
    """Write the cells of a slide with all levels of their pyramid, tile by tile.

    Parameters
    ----------
    prediction : Path
        Manifest of a prediction whose cells are labelled.
    path : Path
        `.ome.tif`: (y, x) of uint32, deflate, the pixel size where it is known, the cells' fingerprint as
        `image_fingerprint` finds it. It is whole or absent.
    """
    facts = manifests.read_manifest(prediction)
    levels = len(omezarr.level_paths(manifests.store_path(prediction) / "labels" / "cells"))
    options: dict[str, Any] = {
        "dtype": np.uint32,
        "tile": (_TILE, _TILE),
        "compression": "zlib",
        "photometric": "minisblack",
        "software": _SIGNED + facts["cells"]["fingerprint"],
    }
    largest = {"subifds": levels - 1, "metadata": _metadata(facts)}
    with replacing(path) as partial, tifffile.TiffWriter(partial, bigtiff=True, ome=True) as file:
        for level in range(levels):
            labels = verified.open_label_store(prediction, "cells", level)
            kind = {"subfiletype": 1} if level else largest
            file.write(_tiles(labels), shape=labels.shape, **kind, **options)


def image_fingerprint(path: Path) -> str | None:
    """Return what the cells of a file depend on; None when it is not there or not of this kind."""
    try:
        with tifffile.TiffFile(path) as file:
            software = file.pages.first.tags.valueof("Software", default="")
    except (FileNotFoundError, tifffile.TiffFileError):
        return None
    return software.removeprefix(_SIGNED) if software.startswith(_SIGNED) else None


def _metadata(facts: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {"axes": "YX", "Name": facts["slide"], "Channel": {"Name": ["cells"]}}
    if facts["mpp"] is not None:
        for axis in "XY":
            known |= {f"PhysicalSize{axis}": facts["mpp"], f"PhysicalSize{axis}Unit": "µm"}
    return known


def _tiles(labels: verified.StoredPixels) -> Iterator[np.ndarray]:
    for region in BlockGrid(labels.shape, _TILE):
        tile = labels[region]
        yield np.pad(tile, [(0, _TILE - side) for side in tile.shape])
