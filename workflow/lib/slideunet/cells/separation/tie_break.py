"""Numbers that depend on a pixel's position in the slide alone: they decide between equals, wherever cut."""

import numpy as np


def position_hash(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return a uint32 for every pixel, given its row and column in the whole slide.

    The two arrays of integers are broadcast against each other.
    """
    mixed = rows.astype(np.uint32) * np.uint32(0x9E3779B1) ^ columns.astype(np.uint32) * np.uint32(0x85EBCA77)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x2C1B3C6D)
    mixed ^= mixed >> np.uint32(12)
    return mixed
