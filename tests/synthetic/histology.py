"""H&E look: haematoxylin in nuclei, eosin around them, colours by the Beer-Lambert law."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthetic.cell_positions import CONDENSED, DEBRIS, Habitat
from synthetic.donors import HistologyDonor, histology_donor
from synthetic.nucleus_shapes import Stamps, add_stamps, chromatin
from synthetic.randomness import SmoothField, Stream
from synthetic.scene import Rectangle, Scene

CYTOPLASM_MARGIN = 24
_CYTOPLASM_SIGMA = 4.5


def histology_habitat(scene: Scene) -> Habitat:
    """Return where cells grow: in tissue outside its lumina."""
    tissue = histology_donor(scene.donor_seed).tissue
    coarse, border, lumen = _fields(scene)
    return lambda y, x: (coarse.at(y, x) + 0.25 * border.at(y, x) + tissue > 0.12) & (lumen.at(y, x) < 1.75)


def _fields(scene: Scene) -> tuple[SmoothField, SmoothField, SmoothField]:
    return (
        SmoothField(scene.seed, Stream.HABITAT, 384),
        SmoothField(scene.seed, Stream.BORDER, 48),
        SmoothField(scene.seed, Stream.LUMEN, 96),
    )


def draw_histology(
    region: Rectangle, scene: Scene, donor: HistologyDonor, stamps: list[Stamps], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw a region: stain of nuclei, cytoplasm and fibres, optics and camera noise.

    Parameters as `fluorescence.draw_fluorescence`; the result depends on the scene up to `CYTOPLASM_MARGIN`
    pixels beyond the region.

    Returns
    -------
    numpy.ndarray
        (3, y, x) uint8, red, green, blue.
    """
    wide = region.grown(CYTOPLASM_MARGIN)
    nuclei, blood = np.zeros(wide.shape, np.float32), np.zeros(wide.shape, np.float32)
    for group in stamps:
        stain, red = _absorption(group, scene, donor)
        add_stamps(nuclei, stain, group, wide)
        add_stamps(blood, red, group, wide)
    eosin = _eosin(wide, scene, donor, nuclei) + blood
    haematoxylin = donor.nuclear_stain * nuclei + np.float32(0.12) * eosin
    image = np.empty((3, *region.shape), np.uint8)
    for c in range(3):
        density = haematoxylin * np.float32(donor.haematoxylin[c]) + eosin * np.float32(donor.eosin[c])
        density = ndimage.gaussian_filter(density, donor.blur, truncate=4)[region.inside(wide)]
        light = np.float32(donor.white[c]) * np.exp(-density)
        light += np.float32(donor.noise) * rng.standard_normal(region.shape, dtype=np.float32)
        image[c] = np.rint(light).clip(0, 255)
    return image


def _absorption(
    stamps: Stamps, scene: Scene, donor: HistologyDonor
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return haematoxylin of nuclei and eosin of reddish debris per window, (n, side, side) each."""
    kind = stamps.cells["kind"][:, None, None]
    level = stamps.level
    edge = 1 / (1 + np.exp(np.clip(-stamps.inwards / (0.7 * stamps.spread("defocus")), -30, 30)))
    membrane = np.exp(-(((level - 0.9) / 0.13) ** 2))
    texture = chromatin(stamps, scene.donor_seed, donor.chromatin_grain)
    pale = 0.68 + 0.3 * membrane + donor.chromatin_contrast * texture
    dense = 0.85 + 0.4 * donor.chromatin_contrast * texture
    stain = edge * np.maximum(np.where(kind == CONDENSED, dense, pale), 0.1) * stamps.spread("brightness")
    debris = (kind == DEBRIS).astype(np.float32)
    # Debris is small dark pigment, or eosin-red fibres and fragments.
    reddish = (stamps.cells["texture"][:, 0] % 2 == 0) | (stamps.cells["elongation"] > 4)
    red = debris * reddish.astype(np.float32)[:, None, None]
    return (stain * (1 - red)).astype(np.float32), (0.55 * edge * red).astype(np.float32)


def _eosin(
    wide: Rectangle, scene: Scene, donor: HistologyDonor, nuclei: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the eosin of stroma and cytoplasm, float32 (y, x); 0 where there is no tissue."""
    rows, columns = wide.rows, wide.columns
    course = SmoothField(scene.seed, Stream.FIBRES, 80).grid(rows, columns)
    detail = SmoothField(scene.seed, Stream.FIBRE_DETAIL, 10).grid(rows, columns)
    grain = SmoothField(scene.seed, Stream.GRAIN, 3).grid(rows, columns)
    bundles = SmoothField(scene.seed, Stream.BUNDLES, 40).grid(rows, columns)
    # Level lines of a smooth field run in parallel like collagen; noise in their phase breaks them up, and
    # a second field makes bundles appear and vanish.
    phase = np.float32(2 * np.pi * donor.fibre_waves) * course + 1.9 * detail + 1.5 * bundles
    fibres = np.sin(phase) * (0.17 * np.maximum(bundles + 0.3, 0))
    stroma = donor.stroma_stain * (1 + fibres + 0.1 * bundles + 0.15 * detail + 0.12 * grain)
    around = ndimage.gaussian_filter(nuclei, _CYTOPLASM_SIGMA, truncate=4)
    tissue = _tissue(wide, scene, donor)
    return (np.maximum(stroma, 0.05) + donor.cytoplasm * 2 * np.minimum(around, 0.6)) * tissue


def _tissue(wide: Rectangle, scene: Scene, donor: HistologyDonor) -> NDArray[np.float32]:
    coarse, border, lumen = (field.grid(wide.rows, wide.columns) for field in _fields(scene))
    inside = (coarse + np.float32(0.25) * border + np.float32(donor.tissue)) / np.float32(0.02)
    filled = (np.float32(1.9) - lumen) / np.float32(0.03)
    return 1 / ((1 + np.exp(-inside.clip(-30, 30))) * (1 + np.exp(-filled.clip(-30, 30))))
