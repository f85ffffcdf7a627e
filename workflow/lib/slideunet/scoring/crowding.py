"""Crowded objects: those that another object touches, or nearly."""

import itertools

import numpy as np
from numpy.typing import NDArray

REACH = 2
"""Pixels, along rows and columns, within which another object makes one crowded. Many ground truths have a
line of one background pixel between cells that touch, and 2 px look beyond it."""


def edges(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return the pixels (y, x) of objects next to another label, above, below, left or right."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        here, there = _shifted(labels, axis)
        first, second = _shifted(edge, axis)
        differ = here != there
        first |= differ
        second |= differ
    edge &= labels > 0
    return edge


def crowded_ids(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the ids (n,), sorted, with a pixel at most `REACH` rows and columns from a pixel of another id.

    Parameters
    ----------
    labels : numpy.ndarray of integers, (y, x)
        0 is background. A block needs a margin of `REACH` for the ids inside it.
    """
    # The closest pixels of two objects are edges: a step towards each other leaves the object.
    y, x = np.nonzero(edges(labels))
    own = labels[y, x]
    # A place beyond the border is moved onto it, which is nearer still.
    below = [np.minimum(y + dy, labels.shape[0] - 1) * labels.shape[1] for dy in range(REACH + 1)]
    beside = [np.clip(x + dx, 0, labels.shape[1] - 1) for dx in range(-REACH, REACH + 1)]
    found = [own[:0]]
    for places in itertools.starmap(np.add, itertools.product(below, beside)):  # nearness is mutual
        other = labels.ravel()[places]
        near = (other != own) & (other > 0)
        found += [own[near], other[near]]
    return np.unique(np.concatenate(found))


def _shifted(array: NDArray, axis: int) -> tuple[NDArray, NDArray]:
    swapped = array.swapaxes(0, axis)
    return swapped[:-1].swapaxes(0, axis), swapped[1:].swapaxes(0, axis)
