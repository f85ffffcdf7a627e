"""Between which values viewers show a slide at first."""

from collections.abc import Mapping, Sequence

import numpy as np


def display_windows(
    statistics: Sequence[Mapping[str, float]], dtype: np.dtype, *, colours: bool, white: int | None
) -> list[dict[str, float]]:
    """Return the window of each channel in OMERO's terms.

    Parameters
    ----------
    statistics : sequence of dict
        Of each channel, from `statistics.pooled`.
    dtype : numpy.dtype
        Of the pixels.
    colours : bool
        Whether the first three channels are red, green and blue. These share one window, so that the hue is
        kept.
    white : int or None
        Value of white of integer colours, which are shown from 0 to it.

    Returns
    -------
    list of dict
        `min` and `max`, what a viewer lets choose: all values of an integer type, or those found; `start` and
        `end`, what it shows at first: 1st to 99.8th percentile, where `start` < `end` always.
    """
    shown = [_shown(channel) for channel in statistics]
    if colours:
        starts, ends = zip(*shown[:3], strict=True)
        shown[:3] = [(0.0, float(white)) if white else (min(starts), max(ends))] * 3
    limits = [_limits(channel, dtype) for channel in statistics]
    return [
        {"min": min(low, start), "max": max(high, end), "start": start, "end": end}
        for (low, high), (start, end) in zip(limits, shown, strict=True)
    ]


def _shown(channel: Mapping[str, float]) -> tuple[float, float]:
    low = channel["low"]
    # Where less than 0.2 % of the pixels differ from the rest, the maximum; viewers refuse empty windows.
    ends = (channel["high"], channel["max"], low + max(1.0, abs(low)))
    return low, next(end for end in ends if end > low)


def _limits(channel: Mapping[str, float], dtype: np.dtype) -> tuple[float, float]:
    if np.issubdtype(dtype, np.integer):
        return 0.0, float(np.iinfo(dtype).max)
    return channel["min"], channel["max"]
