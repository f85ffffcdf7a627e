"""Fluorescence look: emission of stained nuclei, microscope optics and camera noise."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthetic.cell_positions import CONDENSED, DEBRIS, Habitat
from synthetic.donors import FluorescenceDonor
from synthetic.nucleus_shapes import Stamps, add_stamps, chromatin
from synthetic.randomness import SmoothField, Stream
from synthetic.scene import Rectangle, Scene

OPTICS_MARGIN = 8
_WHITE_LEVEL = 4095


def fluorescence_habitat(scene: Scene) -> Habitat:
    """Return where cells grow: nearly everywhere, with some bare patches."""
    field = SmoothField(scene.seed, Stream.HABITAT, 384)
    return lambda y, x: field.at(y, x) > -1.35


def draw_fluorescence(
    region: Rectangle, scene: Scene, donor: FluorescenceDonor, stamps: list[Stamps], rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Draw a region: light of the cells, haze, optics, illumination, shot noise and read noise.

    Parameters
    ----------
    region : Rectangle
        The result depends on the scene up to `OPTICS_MARGIN` pixels beyond it.
    scene, donor : Scene, FluorescenceDonor
        The slide and its donor.
    stamps : list[Stamps]
        The cells that may touch the region or its margin.
    rng : numpy.random.Generator
        Camera noise of this region.

    Returns
    -------
    numpy.ndarray
        (1, y, x) uint16 in 0 to 4095.
    """
    wide = region.grown(OPTICS_MARGIN)
    light = np.zeros(wide.shape, np.float32)
    for group in stamps:
        add_stamps(light, _emission(group, scene, donor), group, wide)
    # Truncated inside the margin, because light beyond it is not drawn.
    light = ndimage.gaussian_filter(light, donor.blur, truncate=(OPTICS_MARGIN - 1) / donor.blur)
    light = light[region.inside(wide)]
    haze = SmoothField(scene.seed, Stream.HAZE, 64).grid(region.rows, region.columns)
    light += donor.background * np.exp(donor.haze * haze)
    illumination = SmoothField(scene.seed, Stream.ILLUMINATION, 256).grid(region.rows, region.columns)
    light *= donor.signal * np.exp(donor.illumination * illumination.clip(-2.2, 2.2))
    counts = rng.poisson(light).astype(np.float32) * np.float32(donor.gain) + np.float32(donor.offset)
    counts += rng.standard_normal(light.shape, dtype=np.float32) * np.float32(donor.read_noise)
    return np.rint(counts).clip(0, _WHITE_LEVEL).astype(np.uint16)[None]


def _emission(stamps: Stamps, scene: Scene, donor: FluorescenceDonor) -> NDArray[np.float32]:
    """Return the light of each cell in its window, (n, side, side); 1 is a typical nucleus in focus."""
    defocus = stamps.spread("defocus")
    kind = stamps.cells["kind"][:, None, None]
    edge = 1 / (1 + np.exp(np.clip(-stamps.inwards / (0.6 * defocus), -30, 30)))
    # Nuclei are thickest in the middle.
    thickness = np.sqrt(1 - 0.55 * np.minimum(stamps.level, 1) ** 2) * np.float32(1.15)
    contrast = donor.chromatin_contrast * np.select([kind == DEBRIS, kind == CONDENSED], [0.3, 0.5], 1)
    # Defocus removes fine structure before it blurs the outline.
    contrast = (contrast / (1 + 1.5 * np.maximum(defocus - 0.5, 0))).astype(np.float32)
    texture = 1 + contrast * chromatin(stamps, scene.donor_seed, donor.chromatin_grain)
    dimmed = stamps.spread("brightness") / (1 + 0.35 * np.maximum(defocus - 0.5, 0))
    return edge * thickness * np.maximum(texture, 0.2) * dimmed
