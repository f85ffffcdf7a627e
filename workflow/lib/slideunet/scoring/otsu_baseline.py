"""Baseline: one global Otsu threshold per image, which every network has to beat."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

Polarity = Literal["auto", "bright", "dark"]
BINS = 256


def otsu_threshold(blocks: Iterable[NDArray], low: float, high: float) -> tuple[float, float]:
    """Compute Otsu's threshold (Otsu 1979) of an image that is given block by block.

    Parameters
    ----------
    blocks : iterable of numpy.ndarray
        Disjoint parts that cover a grey image.
    low, high : float
        Smallest and largest grey value of the image.

    Returns
    -------
    threshold : float
        The bright class is above it; for a constant image it is `high`, and the bright class is empty.
    bright : float
        Fraction of pixels in the bright class, from the histogram.
    """
    if not high > low:
        return float(high), 0.0
    edges = np.linspace(low, high, BINS + 1)
    histogram = np.zeros(BINS, dtype=np.int64)
    for block in blocks:
        histogram += np.histogram(block, bins=BINS, range=(low, high))[0]
    centres = (edges[:-1] + edges[1:]) / 2
    threshold = float(threshold_otsu(hist=(histogram, centres)))
    return threshold, float(histogram[centres > threshold].sum() / histogram.sum())


def grey(block: NDArray) -> NDArray:
    """Average the channels of a block (c, y, x) in float64: (y, x)."""
    return block.mean(axis=0, dtype=np.float64)


def foreground(block: NDArray, threshold: float, *, dark: bool) -> NDArray[np.bool_]:
    """Apply the threshold to a grey block; the foreground is its bright or its dark class."""
    return block <= threshold if dark else block > threshold


def cells_are_dark(bright_fraction: float, polarity: Polarity = "auto") -> bool:
    """Return whether cells are the dark class; "auto" takes the smaller class of the image."""
    return bright_fraction > 0.5 if polarity == "auto" else polarity == "dark"
