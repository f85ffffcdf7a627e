"""Copy-paste augmentation (Ghiasi et al. 2021, arXiv:2012.07177): more cells touch."""

import numpy as np
from scipy import ndimage as ndi

from slideunet.network.patches.targets import compact

_EDGE = 1.0  # px; standard deviation of the transition from one image to the other
_MOST_HIDDEN = 0.3  # maximum fraction of a cell's pixels below a pasted cell


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
        Draws the fraction of the cells, and the cells.

    Returns
    -------
    image, labels
        New arrays; pasted cells are on top, with new ids. A partly covered cell keeps its visible part. Cells
        that would hide most of another cell, or be inside of a larger one, are not pasted.
    """
    others = compact(other_labels)
    ids = _beside(compact(labels), others)
    pasted = np.isin(others, ids[rng.random(len(ids)) < rng.random()])
    weight = ndi.gaussian_filter(pasted.astype(np.float32), _EDGE)
    mixed = image + weight * (other - image)
    above = other_labels.astype(np.int64) + int(labels.max(initial=0))
    return mixed, np.where(pasted, above, labels.astype(np.int64))


def _beside(ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the ids of others (1..n) that overlap no cell by more than 30 % of the smaller of the two."""
    areas, other_areas = (np.bincount(np.maximum(each, 0).ravel()) for each in (ids, others))
    both = (ids > 0) & (others > 0)
    (below, above), shared = np.unique(np.stack([ids[both], others[both]]), axis=1, return_counts=True)
    hidden = shared > _MOST_HIDDEN * np.minimum(areas[below], other_areas[above])
    return np.setdiff1d(np.arange(1, len(other_areas)), above[hidden])
