"""Cells of one patch pasted into another (Ghiasi et al. 2021, arXiv:2012.07177): more of them touch."""

import numpy as np
from scipy import ndimage as ndi

from slideunet.network.patches.targets import compact

_EDGE = 1.0  # px; standard deviation of the transition from one image to the other
_MOST_HIDDEN = 0.3  # of a cell's pixels, by each cell that is pasted


def paste_cells(
    image: np.ndarray,
    labels: np.ndarray,
    other: np.ndarray,
    other_labels: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste some cells of another patch over a patch.

    Parameters
    ----------
    image, other : ndarray (c, y, x) float32
        Normalised.
    labels, other_labels : ndarray (y, x) of integers
        Cells 1..n, 0 is background, -1 ignored.
    rng : Generator
        Draws which share of the cells, and which of them.

    Returns
    -------
    image, labels
        New arrays; what is pasted lies on top, with ids above those that were there. A cell that is covered
        in part is what is left of it. What would hide most of another cell, or lie in a larger one, is not
        pasted: cells that touch are to be learned, not remains of them.
    """
    others = compact(other_labels)
    ids = _beside(compact(labels), others)
    pasted = np.isin(others, ids[rng.random(len(ids)) < rng.random()])
    weight = ndi.gaussian_filter(pasted.astype(np.float32), _EDGE)
    mixed = image + weight * (other - image)
    above = other_labels.astype(np.int64) + int(labels.max(initial=0))
    return mixed, np.where(pasted, above, labels.astype(np.int64))


def _beside(ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return those of the others 1..n that overlap no cell by more than 30 % of the smaller of the two."""
    areas, other_areas = (np.bincount(np.maximum(each, 0).ravel()) for each in (ids, others))
    both = (ids > 0) & (others > 0)
    (below, above), shared = np.unique(np.stack([ids[both], others[both]]), axis=1, return_counts=True)
    hidden = shared > _MOST_HIDDEN * np.minimum(areas[below], other_areas[above])
    return np.setdiff1d(np.arange(1, len(other_areas)), above[hidden])
