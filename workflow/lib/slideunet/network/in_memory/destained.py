"""H&E images as fluorescence images of tissue, in which nuclei are denser and dimmer than in cultures."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy import ndimage as ndi
from skimage.color import rgb2hed

from slideunet.network.in_memory.archive import PackedImage

DESTAINED = "destained"
"""Source of these images."""
_SMOOTH = 1.0  # px; the logarithm of dark pixels makes much of their noise.
_MOST_EOSIN = 0.3  # of the haematoxylin: signal outside of nuclei, as of autofluorescent tissue.
_MOST_HAZE = 0.6  # of the signal: light of nuclei above and below the focus.
_HAZE_REACH = (6.0, 24.0)  # px, standard deviation of that light
_BRIGHTEST = 99.8  # percentile that becomes 255


def destained(images: Iterable[PackedImage]) -> list[PackedImage]:
    """Return H&E images as fluorescence images of the source `DESTAINED`, with the same ground truth."""
    return [_destained(packed, np.random.default_rng(number)) for number, packed in enumerate(images)]


def _destained(packed: PackedImage, rng: np.random.Generator) -> PackedImage:
    entry = packed.entry
    signal = nuclear_signal(
        packed.image,
        eosin=rng.uniform(0, _MOST_EOSIN),
        haze=rng.uniform(0, _MOST_HAZE),
        reach=rng.uniform(*_HAZE_REACH),
    )
    changed = replace(entry, source=DESTAINED, stratum=f"{entry.source} {entry.stratum}", kind="fluorescence")
    return replace(packed, entry=changed, image=signal)


def nuclear_signal(image: np.ndarray, *, eosin: float, haze: float, reach: float) -> np.ndarray:
    """Return an H&E image as a nuclear dye would show it: the density of its haematoxylin as brightness.

    Stains are separated as by Ruifrok & Johnston (2001).

    Parameters
    ----------
    image : ndarray (3, y, x) of uint8
    eosin : float
        Share of the eosin's density that is added.
    haze : float
        Share of the blurred signal that is added.
    reach : float
        Standard deviation of that blur in px.

    Returns
    -------
    ndarray (1, y, x) of uint8
    """
    smooth = ndi.gaussian_filter(image.astype(np.float32) / 255, (0, _SMOOTH, _SMOOTH))
    densities = np.maximum(rgb2hed(smooth.transpose(1, 2, 0)), 0)[..., :2]
    most = np.maximum(np.percentile(densities, _BRIGHTEST, axis=(0, 1)), 1e-6)
    signal = densities / most @ np.array([1.0, eosin])
    signal += haze * ndi.gaussian_filter(signal, reach)
    brightest = max(float(np.percentile(signal, _BRIGHTEST)), 1e-6)
    return np.rint(255 * np.clip(signal / brightest, 0, 1)).astype(np.uint8)[None]
