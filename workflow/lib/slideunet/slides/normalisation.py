"""Intensity normalisation, with constants computed once per slide from its statistics.

Normalising each tile by itself would make results depend on the tiling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Mode = Literal["percentile", "unit", "symmetric", "zscore"]
Background = Literal["dark", "bright", "auto"]

LEAST_CONTRAST = 0.2
"""Fraction of the light that stained tissue absorbs somewhere, and bare glass nowhere.

The palest of 107 stained images (BBBC038v1) has 0.25, glass of a scanner 0.02: JPEG artefacts, which would
look like tissue if stretched equally.
"""


@dataclass(frozen=True)
class Normalisation:
    """A linear map of each channel: normalised = (pixel - offset) / scale.

    A negative scale inverts the channel, so that cells are bright in every slide.
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
    """Derive the constants of one slide from its statistics.

    Parameters
    ----------
    statistics : one mapping per channel
        min, max, mean, std, low, median, high, as returned by `statistics.pooled`.
    mode : str
        "percentile": 1st to 99.8th percentile to [0, 1], without clipping;
        "unit": minimum to maximum to [0, 1]; "symmetric": to [-1, 1]; "zscore": mean 0, standard deviation 1.
    background : str
        "bright" inverts the slide, "dark" does not, "auto" does if its median is closer to the high
        percentile, averaged over channels (stained tissue on a white background).

    Returns
    -------
    Normalisation
        Inverted slides of three channels whose percentiles have less than `LEAST_CONTRAST` are stretched
        less, so that a field of bare glass stays near 0.
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
    # If cells cover less than 0.2 % of a slide, both percentiles may coincide; then the extremes count.
    if mode != "percentile" or low == high:
        low, high = channel["min"], channel["max"]
    scale = _not_zero(high - low)
    start, scale = (high, -scale) if invert else (low, scale)
    # [0, 1] to [-1, 1]: 2 (x - start) / scale - 1 = (x - (start + scale / 2)) / (scale / 2)
    return (start + scale / 2, scale / 2) if mode == "symmetric" else (start, scale)


def _not_zero(scale: float) -> float:
    """Leave constant slides unscaled, because they have no contrast."""
    return scale if scale > 0 else 1.0
