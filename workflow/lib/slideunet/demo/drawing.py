"""Drawing a scene with its exact labels."""

import numpy as np
from numpy.typing import NDArray

from slideunet.demo import fluorescence, histology
from slideunet.demo.cell_positions import cells_near
from slideunet.demo.donors import fluorescence_donor, histology_donor
from slideunet.demo.nucleus_shapes import Stamps, paint_labels, stamp
from slideunet.demo.randomness import Stream, place_generator
from slideunet.demo.scene import Rectangle, Scene
from slideunet.geometry.blocks import BlockGrid, within

PIECE = 256
"""A slide is put together from squares, those at its border cut: what is needed for one fits into memory."""


def draw(scene: Scene) -> tuple[NDArray, NDArray[np.uint32]]:
    """Draw a slide with its exact labels.

    Returns
    -------
    image : numpy.ndarray
        (c, y, x) of the scene's dtype.
    labels : numpy.ndarray
        (y, x) uint32, 0 = background. Ids are unique, not consecutive: a cell's comes from the lattice cell
        that it was drawn for.
    """
    image = np.empty((scene.channels, scene.height, scene.width), scene.dtype)
    labels = np.empty((scene.height, scene.width), np.uint32)
    for place in BlockGrid(labels.shape, PIECE):
        rows, columns = place
        piece = Rectangle(rows.start, columns.start, rows.start + PIECE, columns.start + PIECE)
        shown, stamps = within(place, place), _stamps(piece, scene)
        image[:, *place] = _draw_piece(piece, scene, stamps)[:, *shown]
        labels[place] = paint_labels(stamps, piece)[shown]
    return image, labels


def _stamps(piece: Rectangle, scene: Scene) -> list[Stamps]:
    if scene.look == "fluorescence":
        population, habitat = fluorescence_donor(scene.donor_seed).population, fluorescence.habitat(scene)
        margin = fluorescence.MARGIN
    else:
        population, habitat = histology_donor(scene.donor_seed).population, histology.habitat(scene)
        margin = histology.MARGIN
    return stamp(cells_near(piece.grown(margin), scene, population, habitat))


def _draw_piece(piece: Rectangle, scene: Scene, stamps: list[Stamps]) -> NDArray:
    rng = place_generator(scene.seed, Stream.NOISE, piece.top // PIECE, piece.left // PIECE)
    if scene.look == "fluorescence":
        return fluorescence.draw_image(piece, scene, fluorescence_donor(scene.donor_seed), stamps, rng)
    return histology.draw_image(piece, scene, histology_donor(scene.donor_seed), stamps, rng)
