"""Donors: biological and technical variation between slides."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb_from_hed

from synthetic.randomness import Stream


@dataclass(frozen=True)
class Population:
    """Spatial and shape parameters of a donor's cells; lengths in pixels, rates per 128 x 128 px.

    Attributes
    ----------
    singles, clusters, cluster_size, debris : float
        Mean number of single cells, of clusters, of cells per cluster, and of debris particles.
    cluster_spread : float
        Standard deviation of cell positions around the cluster centre.
    radius, radius_spread : float
        Median equivalent radius, and the standard deviation of its logarithm.
    elongation : float
        Mean of (long axis / short axis) - 1.
    wobble : float
        Amplitude of the low-order Fourier terms of the outline, relative to the radius.
    contact : float
        Minimum distance of two cells relative to the sum of their radii; below 1 they may overlap.
    condensed : float
        Fraction of small, dense nuclei (mitotic cells, lymphocytes).
    brightness_spread : float
        Standard deviation of log brightness between cells.
    defocused : float
        Fraction of out-of-focus cells.
    """

    singles: float
    clusters: float
    cluster_size: float
    cluster_spread: float
    debris: float
    radius: float
    radius_spread: float
    elongation: float
    wobble: float
    contact: float
    condensed: float
    brightness_spread: float
    defocused: float


@dataclass(frozen=True)
class FluorescenceDonor:
    """Imaging parameters of a fluorescence donor; light in photo-electrons, lengths in pixels."""

    population: Population
    signal: float
    background: float
    illumination: float
    haze: float
    blur: float
    gain: float
    offset: float
    read_noise: float
    chromatin_grain: float
    chromatin_contrast: float


@dataclass(frozen=True)
class HistologyDonor:
    """Staining parameters of an H&E donor; stains as optical density per unit, (red, green, blue)."""

    population: Population
    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    nuclear_stain: float
    stroma_stain: float
    cytoplasm: float
    fibre_waves: float
    tissue: float
    white: tuple[float, float, float]
    blur: float
    noise: float
    chromatin_grain: float
    chromatin_contrast: float


@lru_cache(maxsize=64)
def fluorescence_donor(seed: int) -> FluorescenceDonor:
    """Sample a fluorescence donor from a seed."""
    rng = np.random.default_rng([seed, int(Stream.DONOR), 0])
    population = Population(
        singles=rng.uniform(3, 8),
        clusters=rng.uniform(0.5, 1.4),
        cluster_size=rng.uniform(4, 9),
        cluster_spread=rng.uniform(14, 24),
        debris=rng.uniform(0.6, 3.0),
        radius=rng.uniform(7.5, 12.5),
        radius_spread=rng.uniform(0.10, 0.22),
        elongation=rng.uniform(0.15, 0.55),
        wobble=rng.uniform(0.025, 0.055),
        contact=rng.uniform(0.72, 0.9),
        condensed=rng.uniform(0.02, 0.06),
        brightness_spread=rng.uniform(0.15, 0.32),
        defocused=rng.uniform(0.08, 0.3),
    )
    return FluorescenceDonor(
        population=population,
        signal=float(np.exp(rng.uniform(np.log(60), np.log(350)))),
        background=rng.uniform(0.08, 0.40),
        illumination=rng.uniform(0.1, 0.5),
        haze=rng.uniform(0.1, 0.3),
        blur=rng.uniform(0.7, 1.3),
        gain=rng.uniform(1.5, 4.0),
        offset=rng.uniform(60, 140),
        read_noise=rng.uniform(4, 10),
        chromatin_grain=rng.uniform(1.0, 2.0),
        chromatin_contrast=rng.uniform(0.12, 0.24),
    )


@lru_cache(maxsize=64)
def histology_donor(seed: int) -> HistologyDonor:
    """Sample an H&E donor from a seed."""
    rng = np.random.default_rng([seed, int(Stream.DONOR), 1])
    population = Population(
        singles=rng.uniform(6, 16),
        clusters=rng.uniform(0.8, 2.5),
        cluster_size=rng.uniform(5, 11),
        cluster_spread=rng.uniform(14, 26),
        debris=rng.uniform(0.3, 1.4),
        radius=rng.uniform(6.5, 9.5),
        radius_spread=rng.uniform(0.12, 0.24),
        elongation=rng.uniform(0.25, 0.75),
        wobble=rng.uniform(0.025, 0.05),
        contact=rng.uniform(0.78, 0.95),
        condensed=rng.uniform(0.08, 0.25),
        brightness_spread=rng.uniform(0.12, 0.25),
        defocused=rng.uniform(0.0, 0.12),
    )
    return HistologyDonor(
        population=population,
        haematoxylin=_varied_stain(rgb_from_hed[0], rng),
        eosin=_varied_stain(np.array([0.10, 0.92, 0.38]), rng),
        nuclear_stain=rng.uniform(0.85, 1.35),
        stroma_stain=rng.uniform(0.28, 0.5),
        cytoplasm=rng.uniform(0.05, 0.22),
        fibre_waves=rng.uniform(1.5, 4.0),
        tissue=rng.uniform(0.9, 1.7),
        white=(rng.uniform(238, 248), rng.uniform(236, 246), rng.uniform(238, 249)),
        blur=rng.uniform(0.5, 0.9),
        noise=rng.uniform(1.2, 2.6),
        chromatin_grain=rng.uniform(0.9, 1.6),
        chromatin_contrast=rng.uniform(0.15, 0.28),
    )


def _varied_stain(vector: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float, float]:
    varied = np.clip(vector + rng.normal(0, 0.035, 3), 0.02, None)
    red, green, blue = varied / np.linalg.norm(varied)
    return float(red), float(green), float(blue)
