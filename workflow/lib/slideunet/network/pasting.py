"""Cells of one patch pasted into another (Ghiasi et al. 2021, arXiv:2012.07177): more of them touch."""

import numpy as np
from scipy import ndimage as ndi

_EDGE = 1.0  # px; standard deviation of the transition from one image to the other


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
        Cells 1..n, 0 is background, -1 not judged.
    rng : Generator
        Draws which share of the cells, and which of them.

    Returns
    -------
    image, labels
        New arrays; what is pasted lies on top, with ids above those that were there. A cell that is covered
        in part is what is left of it.
    """
    ids = np.unique(other_labels)
    ids = ids[ids > 0]
    chosen = ids[rng.random(len(ids)) < rng.random()]
    pasted = np.isin(other_labels, chosen)
    weight = ndi.gaussian_filter(pasted.astype(np.float32), _EDGE)
    mixed = image + weight * (other - image)
    above = other_labels.astype(np.int64) + int(labels.max(initial=0))
    return mixed, np.where(pasted, above, labels.astype(np.int64))
