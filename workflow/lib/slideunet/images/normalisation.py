"""Intensity statistics of a whole slide, and the normalisation that they fix for every tile of it.

The constants are computed once per slide: a tile that was normalised by itself would look different from the
same pixels in another tile, and the result would depend on how the slide was cut up.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from slideunet.images.pixels import Pixels
from slideunet.images.pyramid import regions

Mode = Literal["percentile", "unit", "symmetric", "zscore"]
Background = Literal["dark", "bright", "auto"]

LOW, HIGH = 1.0, 99.8
_BLOCK = 4096
_SAMPLES_PER_BLOCK = 512


@dataclass(frozen=True)
class Normalisation:
    """A linear map of each channel: normalised = (pixel - offset) / scale.

    A negative scale inverts the channel, so that cells are bright on every slide.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Normalise pixels (c, y, x) of any dtype to float32."""
        offset = np.asarray(self.offset, np.float32)[:, None, None]
        scale = np.asarray(self.scale, np.float32)[:, None, None]
        return (pixels.astype(np.float32) - offset) / scale


def normalisation(
    statistics: Sequence[Mapping[str, float]], mode: Mode, background: Background
) -> Normalisation:
    """Choose the constants of one slide from its statistics.

    Parameters
    ----------
    statistics : one mapping per channel
        With min, max, mean, std, low, median, high, as `survey` returns them.
    mode : str
        "percentile": 1st to 99.8th percentile to [0, 1] (values outside are kept);
        "unit": minimum to maximum to [0, 1]; "symmetric": to [-1, 1]; "zscore": mean 0, standard deviation 1.
    background : str
        "dark" leaves the slide as it is, "bright" inverts it, "auto" inverts it when its median lies nearer
        to the high percentile, averaged over channels (stained tissue on a white background).
    """
    invert = background == "bright" or (background == "auto" and _is_bright(statistics))
    pairs = [_offset_and_scale(channel, mode, invert) for channel in statistics]
    return Normalisation(tuple(offset for offset, _ in pairs), tuple(scale for _, scale in pairs))


def survey(pixels: Pixels) -> tuple[list[dict[str, float]], str]:
    """Read a slide once and return the statistics of its channels and the digest of its pixels.

    Parameters
    ----------
    pixels : array-like (c, y, x)
        Read in fixed blocks of 4096 x 4096 px, so memory does not grow with the slide.

    Returns
    -------
    list of dict
        min, max, mean, std over all pixels; low (1st), median and high (99.8th) percentile: exact for 8- and
        16-bit integers, from an even sample of at most 512 x 512 px per block for floats.
    str
        sha256 over dtype, shape and decoded pixels: equal for equal images, whatever their file format.
    """
    digest = hashlib.sha256(f"{pixels.dtype} {tuple(pixels.shape)}".encode())
    gathered = [_ChannelSum() for _ in range(pixels.shape[0])]
    for rows, columns in regions(pixels.shape[-2:], _BLOCK):
        block = np.ascontiguousarray(pixels[:, rows, columns])
        digest.update(block.data)
        for channel, plane in zip(gathered, block, strict=True):
            channel.add(plane)
    return [channel.statistics() for channel in gathered], digest.hexdigest()


class _ChannelSum:
    """Sums, extremes and the distribution of one channel, gathered block by block."""

    def __init__(self) -> None:
        self.n = 0
        self.total = self.squares = 0.0
        self.least, self.most = np.inf, -np.inf
        self.counts = np.zeros(0, np.int64)
        self.samples: list[np.ndarray] = []

    def add(self, plane: np.ndarray) -> None:
        exact = plane.astype(np.float64)
        self.n += plane.size
        self.total += float(exact.sum())
        self.squares += float(np.square(exact).sum())
        self.least, self.most = min(self.least, float(plane.min())), max(self.most, float(plane.max()))
        if plane.dtype in (np.uint8, np.uint16):
            counts = np.bincount(plane.ravel(), minlength=len(self.counts))
            counts[: len(self.counts)] += self.counts
            self.counts = counts
        else:
            step = [-(-side // _SAMPLES_PER_BLOCK) for side in plane.shape]
            self.samples.append(plane[:: step[0], :: step[1]].ravel())

    def statistics(self) -> dict[str, float]:
        mean = self.total / self.n
        low, median, high = self._percentiles([LOW, 50.0, HIGH])
        return {
            "min": self.least,
            "max": self.most,
            "mean": mean,
            "std": float(np.sqrt(max(self.squares / self.n - mean**2, 0.0))),
            "low": low,
            "median": median,
            "high": high,
        }

    def _percentiles(self, percent: list[float]) -> list[float]:
        if self.samples:
            return [float(value) for value in np.percentile(np.concatenate(self.samples), percent)]
        # The value at rank ceil(p n / 100), NumPy's method "inverted_cdf".
        ranks = np.maximum(np.ceil(np.asarray(percent) / 100 * self.n), 1)
        return [float(value) for value in np.searchsorted(np.cumsum(self.counts), ranks)]


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
