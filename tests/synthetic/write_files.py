"""Drawn slides as TIFF files with their physical pixel size."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential

from slideunet.stores.files import replacing
from synthetic.drawing import draw, draw_image, draw_labels
from synthetic.scene import Rectangle, Scene

TILE = 512


def write_field(scene: Scene, image: Path, labels: Path | None = None) -> None:
    """Draw a small slide in memory and write it, its cells numbered 1 to n without gaps.

    Parameters
    ----------
    scene : Scene
        The slide; it is held in memory as a whole.
    image : Path
        OME-TIFF to write: (y, x) uint16 or (y, x, rgb) uint8, with the physical pixel size.
    labels : Path, optional
        Label TIFF to write: (y, x) uint16 (uint32 from 65,536 cells on), zlib. None writes no labels.
    """
    pixels, ids = draw(scene.region, scene)
    with replacing(image) as part:
        tifffile.imwrite(part, _as_written(pixels), **_image_options(scene))
    if labels is not None:
        numbered = relabel_sequential(ids)[0]
        small = numbered.astype(np.uint16 if numbered.max() < 2**16 else np.uint32)
        with replacing(labels) as part:
            tifffile.imwrite(part, small, **_label_options(scene))


def write_slide(scene: Scene, image: Path, labels: Path | None = None, tile: int = TILE) -> None:
    """Draw a slide of any size tile by tile into tiled BigTIFF files; memory does not grow with the slide.

    Parameters
    ----------
    scene : Scene
        The slide.
    image : Path
        OME-TIFF to write: (y, x) uint16 or (y, x, rgb) uint8, not compressed, with the physical pixel size.
    labels : Path, optional
        Label TIFF to write: (y, x) uint32, zlib; ids as `draw` gives them. None writes no labels.
    tile : int
        Side of the file's tiles in pixels, a multiple of 16. Multiples of 256 are drawn fastest.
    """
    options = {"tile": (tile, tile), "bigtiff": True}
    shape = (scene.height, scene.width) if scene.channels == 1 else (scene.height, scene.width, 3)
    with replacing(image) as part:
        drawn = image_tiles(scene, tile)
        tifffile.imwrite(part, drawn, shape=shape, dtype=scene.dtype, **_image_options(scene), **options)
    if labels is not None:
        with replacing(labels) as part:
            drawn = label_tiles(scene, tile)
            tifffile.imwrite(part, drawn, shape=shape[:2], dtype="uint32", **_label_options(scene), **options)


def tiles(scene: Scene, size: int) -> Iterator[Rectangle]:
    """Yield the tiles of a slide in raster order; those at the lower and right border are cut."""
    for top in range(0, scene.height, size):
        for left in range(0, scene.width, size):
            yield Rectangle(top, left, top + size, left + size).cut(scene.region)


def image_tiles(scene: Scene, size: int) -> Iterator[NDArray]:
    """Yield the image tile by tile, (y, x) or (y, x, rgb), every tile full: 0 beyond the border."""
    for region in tiles(scene, size):
        yield _filled(_as_written(draw_image(region, scene)), size)


def label_tiles(scene: Scene, size: int) -> Iterator[NDArray[np.uint32]]:
    """Yield the labels tile by tile, (y, x) uint32, every tile full: 0 beyond the border."""
    for region in tiles(scene, size):
        yield _filled(draw_labels(region, scene), size)


def _filled(tile: NDArray, size: int) -> NDArray:
    missing = [(0, size - tile.shape[0]), (0, size - tile.shape[1])] + [(0, 0)] * (tile.ndim - 2)
    return np.pad(tile, missing)


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
