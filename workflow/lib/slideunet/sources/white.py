"""The value of white light: that of the depth of the camera, which may be less than that of the dtype."""

from collections.abc import Mapping
from typing import Any

import numpy as np

DEPTHS = (8, 10, 12, 14, 16)
"""Bits of cameras and scanners."""


def white_level(dtype: np.dtype, maximum: float, bits: int | None = None) -> int:
    """Return the value of white of unsigned pixels.

    Parameters
    ----------
    dtype : numpy.dtype
        uint8 or uint16.
    maximum : float
        The largest value of the image.
    bits : int or None
        Depth that the file states. One that fills the type says nothing, since programs write it for any
        image, and one that `maximum` exceeds is wrong (values may be shifted to the left).

    Returns
    -------
    int
        2**bits - 1, of the stated depth or else of the smallest of `DEPTHS` that holds the maximum.
    """
    size = 8 * np.dtype(dtype).itemsize
    stated = [] if bits is None or bits >= size else [bits]
    fitting = (2**depth - 1 for depth in (*stated, *DEPTHS) if size >= depth and maximum < 2**depth)
    return next(fitting) if size > DEPTHS[0] else int(np.iinfo(dtype).max)


def white_of(facts: Mapping[str, Any]) -> int | None:
    """Return the white of a converted slide, given the facts of its manifest; None if it has none."""
    if "white" in facts:
        return facts["white"]
    # A store of an earlier version.
    dtype, most = np.dtype(facts["dtype"]), max(channel["max"] for channel in facts["statistics"])
    return white_level(dtype, most) if dtype.kind == "u" else None
