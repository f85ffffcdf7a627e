"""Label images looked at band by band, so that what numpy makes on the way stays in the processor's cache.

An operation on 4352 x 4352 px at once takes several times longer: its results are new memory each time, which
the system first has to clear.
"""

import numpy as np

from slideunet.geometry.blocks import cuts

BAND = 1 << 17
"""Pixels of a band: with a few arrays of 4 bytes it fits into a cache of 1 to 2 MiB."""


def bands(shape: tuple[int, ...]) -> list[slice]:
    """Cut an image of this shape (y, x) into slices of whole rows, of some `BAND` pixels each."""
    return cuts(slice(0, shape[0]), max(1, BAND // max(1, shape[1])))


def labels_at(labels: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """Return which labels (y, x) below `count` have pixels in a mask (y, x): (count,) of bool."""
    found = np.zeros(count, bool)
    for part in bands(labels.shape):
        found[labels[part][mask[part]]] = True
    return found
