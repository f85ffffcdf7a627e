"""The normalisation of a whole slide, fixed by its statistics for every tile of it.

The constants are computed once per slide: a tile that was normalised by itself would look different from the
same pixels in another tile, and the result would depend on how the slide was cut up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Mode = Literal["percentile", "unit", "symmetric", "zscore"]
Background = Literal["dark", "bright", "auto"]

LEAST_CONTRAST = 0.2
"""Share of the light that something in an image of stained tissue absorbs, and nothing in one of glass.

The palest of 107 stained images (BBBC038v1) has 0.25, glass of a scanner 0.02, all of it blocks of JPEG that
would look like tissue if they were stretched as far.
"""


@dataclass(frozen=True)
class Normalisation:
    """A linear map of each channel: normalised = (pixel - offset) / scale.

    A negative scale inverts the channel, so that cells are bright on every slide.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Normalise pixels (c, y, x) of any dtype to float32."""
        values = pixels.astype(np.float32)
        values -= np.asarray(self.offset, np.float32)[:, None, None]
        values /= np.asarray(self.scale, np.float32)[:, None, None]
        return values


def normalisation(
    statistics: Sequence[Mapping[str, float]], mode: Mode, background: Background
) -> Normalisation:
    """Choose the constants of one slide from its statistics.

    Parameters
    ----------
    statistics : one mapping per channel
        With min, max, mean, std, low, median, high, as `statistics.pooled` returns them.
    mode : str
        "percentile": 1st to 99.8th percentile to [0, 1] (values outside are kept);
        "unit": minimum to maximum to [0, 1]; "symmetric": to [-1, 1]; "zscore": mean 0, standard deviation 1.
    background : str
        "dark" leaves the slide as it is, "bright" inverts it, "auto" inverts it when its median lies nearer
        to the high percentile, averaged over channels (stained tissue on a white background).

    Returns
    -------
    Normalisation
        Percentiles of an inverted slide of three channels are stretched less where none of them has
        `LEAST_CONTRAST`: a field of bare glass stays near 0.
    """
    invert = background == "bright" or (background == "auto" and _is_bright(statistics))
    pairs = [_offset_and_scale(channel, mode, invert) for channel in statistics]
    offset, scale = (tuple(values) for values in zip(*pairs, strict=True))
    stained = mode == "percentile" and invert and len(statistics) == 3
    return Normalisation(offset, _as_of_tissue(offset, scale) if stained else scale)


def _as_of_tissue(light: tuple[float, ...], scale: tuple[float, ...]) -> tuple[float, ...]:
    """Widen the scales (negative) together until the largest is `LEAST_CONTRAST` of the light."""
    widest = max(-one / most if most > 0 else 1.0 for most, one in zip(light, scale, strict=True))
    return tuple(one * max(1.0, LEAST_CONTRAST / widest) for one in scale)


def _is_bright(statistics: Sequence[Mapping[str, float]]) -> bool:
    nearer_to_bright = [(s["median"] - s["low"]) - (s["high"] - s["median"]) for s in statistics]
    return sum(nearer_to_bright) > 0


def _offset_and_scale(channel: Mapping[str, float], mode: Mode, invert: bool) -> tuple[float, float]:
    if mode == "zscore":
        offset, scale = channel["mean"], channel["std"]
        return offset, -_not_zero(scale) if invert else _not_zero(scale)
    low, high = channel["low"], channel["high"]
    # When cells cover less than 0.2 % of a slide the percentiles may be one value; then its extremes count.
    if mode != "percentile" or low == high:
        low, high = channel["min"], channel["max"]
    scale = _not_zero(high - low)
    start, scale = (high, -scale) if invert else (low, scale)
    # [0, 1] to [-1, 1]: 2 (x - start) / scale - 1 = (x - (start + scale / 2)) / (scale / 2)
    return (start + scale / 2, scale / 2) if mode == "symmetric" else (start, scale)


def _not_zero(scale: float) -> float:
    """A constant slide has no contrast to stretch: leave it as it is."""
    return scale if scale > 0 else 1.0
