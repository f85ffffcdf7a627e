"""Drawing any region of a scene; the result does not depend on how a slide is cut into regions."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from slideunet.demo import fluorescence, histology
from slideunet.demo.cell_positions import cells_near
from slideunet.demo.donors import fluorescence_donor, histology_donor
from slideunet.demo.nucleus_shapes import Stamps, paint_labels, stamp
from slideunet.demo.randomness import Stream, place_generator
from slideunet.demo.scene import Region, Scene
from slideunet.errors import InputError

# A region is put together from blocks of a fixed lattice, and every block is always drawn whole: so the
# same pixels come from the same arithmetic, whatever was asked for.
BLOCK = 256


def draw(region: Region, scene: Scene) -> tuple[NDArray, NDArray[np.uint32]]:
    """Draw a region of a scene with its exact labels.

    Parameters
    ----------
    region : Region
        A rectangle inside the slide.
    scene : Scene
        The slide.

    Returns
    -------
    image : numpy.ndarray
        (c, y, x) of the scene's dtype.
    labels : numpy.ndarray
        (y, x) uint32, 0 = background. Ids are unique on the slide and the same in every region, not
        consecutive: a cell's id comes from the lattice cell that it was drawn for.

    Raises
    ------
    InputError
        When the region is empty or reaches beyond the slide.
    """
    _refuse_outside(region, scene)
    image = np.empty((scene.channels, *region.shape), scene.dtype)
    labels = np.empty(region.shape, np.uint32)
    for block, place, part in _blocks(region, scene):
        stamps = _stamps(block, scene)
        image[(slice(None), *place)] = _draw_block(block, scene, stamps)[(slice(None), *part)]
        labels[place] = paint_labels(stamps, block)[part]
    return image, labels


def draw_image(region: Region, scene: Scene) -> NDArray:
    """Draw the image alone, (c, y, x); see `draw`."""
    _refuse_outside(region, scene)
    image = np.empty((scene.channels, *region.shape), scene.dtype)
    for block, place, part in _blocks(region, scene):
        image[(slice(None), *place)] = _draw_block(block, scene, _stamps(block, scene))[(slice(None), *part)]
    return image


def draw_labels(region: Region, scene: Scene) -> NDArray[np.uint32]:
    """Draw the labels alone, uint32 (y, x), several times faster than with the image; see `draw`."""
    _refuse_outside(region, scene)
    labels = np.empty(region.shape, np.uint32)
    for block, place, part in _blocks(region, scene):
        labels[place] = paint_labels(_stamps(block, scene), block)[part]
    return labels


def _refuse_outside(region: Region, scene: Scene) -> None:
    if min(region.shape) < 1 or region.cut(scene.region) != region:
        raise InputError(
            f"demo slide: region {tuple(region)} (top, left, bottom, right) does not lie in the slide of "
            f"{scene.height} x {scene.width} (y x x). Only pixels of the slide can be drawn. Cut the region."
        )


def _blocks(
    region: Region, scene: Scene
) -> Iterator[tuple[Region, tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the blocks that a region needs, each with its part's place in the region and in the block."""
    for top in range(region.top // BLOCK * BLOCK, region.bottom, BLOCK):
        for left in range(region.left // BLOCK * BLOCK, region.right, BLOCK):
            block = Region(top, left, top + BLOCK, left + BLOCK)
            part = block.cut(region)
            yield block, part.inside(region), part.inside(block)


def _stamps(block: Region, scene: Scene) -> list[Stamps]:
    if scene.look == "fluorescence":
        population, habitat = fluorescence_donor(scene.donor_seed).population, fluorescence.habitat(scene)
        margin = fluorescence.MARGIN
    else:
        population, habitat = histology_donor(scene.donor_seed).population, histology.habitat(scene)
        margin = histology.MARGIN
    return stamp(cells_near(block.grown(margin), scene, population, habitat))


def _draw_block(block: Region, scene: Scene, stamps: list[Stamps]) -> NDArray:
    rng = place_generator(scene.seed, Stream.NOISE, block.top // BLOCK, block.left // BLOCK)
    if scene.look == "fluorescence":
        return fluorescence.draw_image(block, scene, fluorescence_donor(scene.donor_seed), stamps, rng)
    return histology.draw_image(block, scene, histology_donor(scene.donor_seed), stamps, rng)
