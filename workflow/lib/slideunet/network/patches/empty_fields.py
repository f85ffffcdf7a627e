"""Synthetic negative patches without cells: camera noise and bare glass."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage as ndi

from slideunet.network.patches.transforms import SMOOTH, interpolated
from slideunet.slides.normalisation import normalisation
from slideunet.slides.statistics import pooled, survey_block


def empty_field(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw a field without cells, normalised as a slide of its own.

    It is noise on uneven illumination, half of it smooth, as after filtering and enlarging. Some fields have
    few grey levels, like rounded dim noise; some have single bright pixels, like cosmic rays and camera
    defects. A third of the RGB fields are bare glass, and half of the others grey or nearly so.

    Parameters
    ----------
    shape : (c, y, x)
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (c, y, x) float32, its 1st to 99.8th percentile at 0 to 1; a smaller range for glass.
    """
    if shape[0] == 3 and rng.random() < 1 / 3:
        return _glass(shape, rng)
    noise = _smooth_noise(shape, rng)
    light = interpolated(rng.standard_normal((shape[0], SMOOTH, SMOOTH)), max(shape[1:])).numpy()
    field = noise + rng.choice([0.0, 1.0, 3.0]) * light[:, : shape[1], : shape[2]]
    if rng.random() < 0.4:
        field = np.round(field * rng.uniform(0.5, 4))
    if rng.random() < 0.4:
        specks = rng.random(shape) < 10 ** rng.uniform(-4.5, -2)
        field = np.where(specks, field.max() * 10 ** rng.uniform(0.3, 2), field)
    low, high = np.percentile(field, (1, 99.8), axis=(1, 2), keepdims=True)
    return ((field - low) / np.maximum(high - low, 1e-3)).astype(np.float32)


def _glass(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw light through a slide without tissue after JPEG: few grey levels, in blocks."""
    noise = _smooth_noise(shape, rng) * 6.0 ** rng.uniform(-1, 1)
    light = (rng.uniform(200, 250, (3, 1, 1)) + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(light.transpose(1, 2, 0)).save(file, "JPEG", quality=int(rng.integers(30, 95)))
    pixels = np.asarray(Image.open(file)).transpose(2, 0, 1)
    return normalisation(pooled([survey_block(pixels)]), "percentile", "bright").apply(pixels)


def _smooth_noise(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw noise with standard deviation 1; with several channels, half of it is grey or nearly so."""
    # Narrow noise is most similar to small nuclei, and rare if the width is uniform.
    sigma = rng.choice([rng.uniform(0, 1), 6.0 ** rng.uniform(0, 1)])
    noise = ndi.gaussian_filter(rng.standard_normal(shape), (0, sigma, sigma), mode="reflect")
    grey = rng.uniform(0.5, 1) if shape[0] > 1 and rng.random() < 0.5 else 0.0
    noise = grey * noise[:1] + (1 - grey) * noise
    return noise / noise.std()
