"""Drawn slides as TIFF files with their physical pixel size."""

import uuid
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential

from slideunet.demo.drawing import draw
from slideunet.demo.scene import Scene
from slideunet.stores.files import replacing


def write_slide(scene: Scene, image: Path, labels: Path | None = None) -> None:
    """Draw a slide in memory and write it, its cells numbered 1 to n without gaps.

    Parameters
    ----------
    scene : Scene
        The slide; it is held in memory as a whole.
    image : Path
        OME-TIFF to write: (y, x) uint16 or (y, x, rgb) uint8, with the physical pixel size.
    labels : Path, optional
        Label TIFF to write: (y, x) uint16 (uint32 from 65,536 cells on), zlib. None writes no labels.
    """
    pixels, ids = draw(scene)
    with replacing(image) as part:
        tifffile.imwrite(part, _as_written(pixels), **_image_options(scene))
    if labels is not None:
        numbered = relabel_sequential(ids)[0]
        small = numbered.astype(np.uint16 if numbered.max() < 2**16 else np.uint32)
        with replacing(labels) as part:
            tifffile.imwrite(part, small, **_label_options(scene))


def _as_written(pixels: NDArray) -> NDArray:
    """Return (c, y, x) in the order of the file: (y, x) for one channel, (y, x, rgb) for three."""
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1))


def _image_options(scene: Scene) -> dict:
    # A fixed UUID, because tifffile would put the time of writing into an otherwise identical file.
    metadata = {
        "axes": "YX" if scene.channels == 1 else "YXS",
        "PhysicalSizeX": scene.mpp,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": scene.mpp,
        "PhysicalSizeYUnit": "µm",
        "UUID": uuid.uuid5(uuid.NAMESPACE_OID, repr(scene)).urn,
    }
    photometric = "minisblack" if scene.channels == 1 else "rgb"
    return {"ome": True, "photometric": photometric, "metadata": metadata, **_resolution(scene)}


def _label_options(scene: Scene) -> dict:
    return {"compression": "zlib", "photometric": "minisblack", "metadata": None, **_resolution(scene)}


def _resolution(scene: Scene) -> dict:
    return {"resolution": (1e4 / scene.mpp, 1e4 / scene.mpp), "resolutionunit": "CENTIMETER"}
