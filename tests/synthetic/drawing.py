"""Drawing any rectangle of a scene; the pixels do not depend on how a slide is cut into rectangles."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slideunet.errors import InputError
from synthetic.cell_positions import Habitat, cells_near
from synthetic.donors import FluorescenceDonor, HistologyDonor, fluorescence_donor, histology_donor
from synthetic.fluorescence import OPTICS_MARGIN, draw_fluorescence, fluorescence_habitat
from synthetic.histology import CYTOPLASM_MARGIN, draw_histology, histology_habitat
from synthetic.nucleus_shapes import Stamps, paint_labels, stamp_cells
from synthetic.randomness import Stream, place_generator
from synthetic.scene import Rectangle, Scene

# Side of the lattice blocks that are always drawn whole: floating-point sums and random numbers of a pixel
# would otherwise depend on the requested rectangle.
LATTICE_BLOCK = 256


class Renderer(NamedTuple):
    """The functions that draw one look, and the margin in pixels that they need around a rectangle."""

    donor: Callable[[int], FluorescenceDonor | HistologyDonor]
    habitat: Callable[[Scene], Habitat]
    draw: Callable[..., NDArray]
    margin: int


RENDERERS = {
    "fluorescence": Renderer(fluorescence_donor, fluorescence_habitat, draw_fluorescence, OPTICS_MARGIN),
    "histology": Renderer(histology_donor, histology_habitat, draw_histology, CYTOPLASM_MARGIN),
}


def draw(region: Rectangle, scene: Scene) -> tuple[NDArray, NDArray[np.uint32]]:
    """Draw a rectangle of a scene with its exact labels.

    Returns
    -------
    image : numpy.ndarray
        (c, y, x) of the scene's dtype.
    labels : numpy.ndarray
        (y, x) uint32, 0 = background. Ids are unique on the slide and do not depend on the rectangle. They
        are not consecutive: they derive from the lattice cell of each nucleus.

    Raises
    ------
    InputError
        The rectangle is empty or extends beyond the slide.
    """
    _refuse_outside(region, scene)
    image = np.empty((scene.channels, *region.shape), scene.dtype)
    labels = np.empty(region.shape, np.uint32)
    for block, place, part in _blocks(region):
        stamps = _stamps(block, scene)
        image[(..., *place)] = _draw_block(block, scene, stamps)[(..., *part)]
        labels[place] = paint_labels(stamps, block)[part]
    return image, labels


def draw_image(region: Rectangle, scene: Scene) -> NDArray:
    """Draw the image alone, (c, y, x); see `draw`."""
    _refuse_outside(region, scene)
    image = np.empty((scene.channels, *region.shape), scene.dtype)
    for block, place, part in _blocks(region):
        image[(..., *place)] = _draw_block(block, scene, _stamps(block, scene))[(..., *part)]
    return image


def draw_labels(region: Rectangle, scene: Scene) -> NDArray[np.uint32]:
    """Draw the labels alone, uint32 (y, x), several times faster than with the image; see `draw`."""
    _refuse_outside(region, scene)
    labels = np.empty(region.shape, np.uint32)
    for block, place, part in _blocks(region):
        labels[place] = paint_labels(_stamps(block, scene), block)[part]
    return labels


def _refuse_outside(region: Rectangle, scene: Scene) -> None:
    if min(region.shape) < 1 or region.cut(scene.region) != region:
        raise InputError(
            f"slide: region {tuple(region)} (top, left, bottom, right) is empty or extends beyond the "
            f"slide of {scene.height} x {scene.width} (y x x). Choose a region inside the slide."
        )


def _blocks(region: Rectangle) -> Iterator[tuple[Rectangle, tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the lattice blocks of a region, each with the place of their overlap in region and block."""
    for top in range(region.top // LATTICE_BLOCK * LATTICE_BLOCK, region.bottom, LATTICE_BLOCK):
        for left in range(region.left // LATTICE_BLOCK * LATTICE_BLOCK, region.right, LATTICE_BLOCK):
            block = Rectangle(top, left, top + LATTICE_BLOCK, left + LATTICE_BLOCK)
            part = block.cut(region)
            yield block, part.inside(region), part.inside(block)


def _stamps(block: Rectangle, scene: Scene) -> list[Stamps]:
    look = RENDERERS[scene.look]
    population = look.donor(scene.donor_seed).population
    return stamp_cells(cells_near(block.grown(look.margin), scene, population, look.habitat(scene)))


def _draw_block(block: Rectangle, scene: Scene, stamps: list[Stamps]) -> NDArray:
    rng = place_generator(scene.seed, Stream.NOISE, block.top // LATTICE_BLOCK, block.left // LATTICE_BLOCK)
    look = RENDERERS[scene.look]
    return look.draw(block, scene, look.donor(scene.donor_seed), stamps, rng)
