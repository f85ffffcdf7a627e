"""An image prepared for training: smaller copies of it, and tables of its cells for targets at any zoom."""

import math
from dataclasses import dataclass

import numpy as np

from slideunet.network.in_memory.archive import PACKED_IGNORE_LABEL, Entry, PackedImage
from slideunet.network.patches.targets import BORDER_REACH, cell_depths, compact, nearest_cells
from slideunet.slides.normalisation import Background, Mode, normalisation
from slideunet.slides.statistics import survey
from slideunet.truth.ignore_label import IGNORE_LABEL

LEVELS = 4
"""Copies of an image: full resolution, and halved up to three times by means of 2 x 2 px."""
FARTHEST = 64
"""Upper limit in px of stored distances to neighbours."""
DEPTH, BETWEEN = -2, -1
"""Planes after the channels: the depth of a pixel in its cell over the largest there, and the distances to
the nearest and the second nearest cell added up, in px of the image."""


@dataclass(frozen=True)
class Prepared:
    """An image and its cells.

    Attributes
    ----------
    entry : Entry
        Metadata from the archive.
    levels : tuple of ndarray (y, x, c + 2) float16
        The normalised channels and two planes, see `DEPTH`.
    labels : ndarray (y, x) int32
        Cells 1..n, 0 = background, -1 = ignored.
    cells : ndarray (n, 4) float32
        Centre (y, x), radius of the disc of the same area and greatest depth, in px.
    """

    entry: Entry
    levels: tuple[np.ndarray, ...]
    labels: np.ndarray
    cells: np.ndarray

    @property
    def diameter(self) -> float | None:
        """Median diameter of the cells in px; None without cells."""
        return 2 * float(np.median(self.cells[:, 2])) if len(self.cells) else None


def normalised(image: np.ndarray, mode: Mode, background: Background) -> np.ndarray:
    """Return an image (c, y, x) normalised as in prediction, float32."""
    return normalisation(survey(image)[0], mode, background).apply(image)


def truth(labels: np.ndarray) -> np.ndarray:
    """Return labels of an archive (y, x) as ground truth for scoring, uint32."""
    return np.where(labels == PACKED_IGNORE_LABEL, IGNORE_LABEL, labels.astype(np.uint32))


def prepare(packed: PackedImage, mode: Mode, background: Background, least: float, border: bool) -> Prepared:
    """Prepare an image for training.

    Parameters
    ----------
    packed : PackedImage
    mode, background : str
        Normalisation of the images.
    least : float
        The smallest diameter in px to which its cells are zoomed.
    border : bool
        Whether the distances between cells are needed; otherwise that plane is `FARTHEST`.
    """
    ignored = packed.labels == PACKED_IGNORE_LABEL
    labels = compact(np.where(ignored, -1, packed.labels.astype(np.int32)))
    ids = np.maximum(labels, 0)
    cells, depth = _cells(ids, ignored)
    between = np.full(ids.shape, FARTHEST, np.float32)
    if border and len(cells):
        diameter = 2 * float(np.median(cells[:, 2]))
        reach = min(math.ceil(BORDER_REACH * max(1.0, diameter / least)), FARTHEST)
        between = np.minimum(sum(nearest_cells(ids, reach)), FARTHEST)
    channels = normalised(packed.image, mode, background)
    full = np.concatenate([channels, depth[None], between[None]]).transpose(1, 2, 0)
    return Prepared(packed.entry, pyramid(full), labels.astype(np.int32), cells)


def pyramid(full: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return planes (y, x, c) and their halves, quarters and eighths as float16; odd sizes are rounded up."""
    levels = [full.astype(np.float32)]
    while len(levels) < LEVELS:
        height, width = levels[-1].shape[:2]
        even = np.pad(levels[-1], [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
        halved = even.reshape(len(even) // 2, 2, even.shape[1] // 2, 2, -1).mean(axis=(1, 3))
        levels.append(halved)
    return tuple(level.astype(np.float16) for level in levels)


def _cells(ids: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the table of the cells and the plane of their depths."""
    flat, count = ids.ravel(), int(ids.max(initial=0))
    area = np.maximum(np.bincount(flat, minlength=count + 1), 1)[1:]
    places = np.unravel_index(np.arange(flat.size), ids.shape)
    centres = [np.bincount(flat, weights=place, minlength=count + 1)[1:] / area for place in places]
    deepest, depth = np.ones(count), np.zeros(ids.shape, np.float32)
    for number, window, depths in cell_depths(ids, ignored):
        deepest[number - 1] = depths.max()
        depth[window] += depths / depths.max()
    return np.stack([*centres, np.sqrt(area / np.pi), deepest], axis=1).astype(np.float32), depth
