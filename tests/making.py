"""What tests make, measure and read as a whole."""

import contextlib

import numpy as np
import pytest

from slideunet.cells.measurement.measure import measure_regions
from slideunet.cells.measurement.regions import find_regions
from slideunet.geometry import blocks as blocks_module
from slideunet.geometry.blocks import BlockGrid
from slideunet.stores import omezarr


@contextlib.contextmanager
def blocks_of(side):
    """Blocks of so many pixels, wherever no other side is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "BLOCK", side)
        yield


def write_image(path, pixels, *, channels, mpp, version="0.5"):
    """Write an image pyramid of pixels (c, y, x) and return its number of levels."""
    omezarr.create_image(path, pixels.shape, pixels.dtype, channels=channels, mpp=mpp, version=version)
    levels = omezarr.open_levels(path, "r+")
    for region in BlockGrid(pixels.shape):
        omezarr.write_block(levels, region, np.asarray(pixels[..., *region]))
    omezarr.finish_levels(path)
    return len(levels)


def write_label_image(image, name, labels, *, mpp, version="0.5"):
    """Write a label pyramid into an image, as `labels/<name>`, and list it there."""
    omezarr.write_labels(image / "labels" / name, labels, mpp=mpp, version=version)
    omezarr.list_labels(image / "labels")


def check_pixels(source):
    """Decode every pixel, or raise what says why that cannot be."""
    source.pixels.compute()


def measure_labels(labels, *others, **options):
    """Measure the cells of a label image (y, x)."""
    return measure_regions(find_regions(labels), *others, **options)
