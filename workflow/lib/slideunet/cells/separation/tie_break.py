"""Hashes of pixel positions, which break ties in the same way however a slide is cut into windows."""

import numpy as np


def position_hash(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return a uint32 hash of positions in the whole slide; the arrays of integers are broadcast together."""
    mixed = rows.astype(np.uint32) * np.uint32(0x9E3779B1) ^ columns.astype(np.uint32) * np.uint32(0x85EBCA77)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x2C1B3C6D)
    mixed ^= mixed >> np.uint32(12)
    return mixed
