"""Training slides as uncompressed, memory-mapped arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.pixels import Pixels
from slideunet.slides.slide_image import open_slide_image
from slideunet.stores.files import replacing
from slideunet.stores.verified import open_label_store

# Pixels of all slides together; larger cohorts are read from their stores.
MOST_PIXELS = 2**30


def fits(shapes: Sequence[tuple[int, int]]) -> bool:
    """Return whether slides of these heights and widths are packed."""
    return sum(height * width for height, width in shapes) <= MOST_PIXELS


def open_slide(manifest: Path, folder: Path | None) -> tuple[Pixels, Pixels]:
    """Open image (c, y, x) and truth (y, x) of a slide.

    Parameters
    ----------
    manifest : Path
    folder : Path or None
        For the packed slides, shared by all processes; None opens the stores.
    """
    if folder is None:
        return _stores(manifest)
    image, truth = (folder / f"{manifest.stem}.{kind}.npy" for kind in ("image", "truth"))
    if not (image.is_file() and truth.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        for path, pixels in zip((image, truth), _stores(manifest), strict=True):
            _pack(pixels, path)
    return np.load(image, mmap_mode="r"), np.load(truth, mmap_mode="r")


def _stores(manifest: Path) -> tuple[Pixels, Pixels]:
    return open_slide_image(manifest), open_label_store(manifest, "truth")


def _pack(pixels: Pixels, path: Path) -> None:
    """Write an array, block by block; at any instant the file is whole or not there."""
    with replacing(path) as partial:
        packed = open_memmap(partial, mode="w+", dtype=pixels.dtype, shape=pixels.shape)
        for region in BlockGrid(pixels.shape):
            packed[..., *region] = pixels[..., *region]
        packed.flush()
