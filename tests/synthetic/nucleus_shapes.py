"""Rasterised cell outlines and the chromatin texture inside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthetic.cell_positions import DEBRIS, MAX_EXTENT, SOFT_EDGE, bounds
from synthetic.randomness import Stream
from synthetic.scene import Rectangle

# Half sizes of windows; cells are computed together in the smallest window that holds them.
_WINDOWS = (14, 20, 28, MAX_EXTENT)
_ATLAS = 256


@dataclass(frozen=True)
class Stamps:
    """Cells of similar size, each in its own square window.

    Attributes
    ----------
    cells : numpy.ndarray
        (n,) of dtype `CELL`.
    order : numpy.ndarray
        (n,) z-order among all cells of the region, the uppermost last.
    top, left : numpy.ndarray
        (n,) int64, the window's first row and column on the slide.
    level : numpy.ndarray
        (n, side, side) float32: 0 at the centre of the cell, 1 on its outline, larger outside.
    """

    cells: NDArray[np.void]
    order: NDArray[np.int64]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    level: NDArray[np.float32]

    @property
    def inwards(self) -> NDArray[np.float32]:
        """Approximate distance from the outline in pixels, positive inside, (n, side, side)."""
        return (1 - self.level) * self.spread("radius")

    def spread(self, field: str) -> NDArray[np.float32]:
        """Return a column of the cells as float32 (n, 1, 1), which broadcasts over windows."""
        return self.cells[field].astype(np.float32)[:, None, None]


def stamp_cells(cells: NDArray[np.void]) -> list[Stamps]:
    """Compute the outlines of cells: ellipses whose radius is perturbed by Fourier terms of order 2 to 4.

    The window of a cell depends on the cell alone, not on the drawn region.

    Parameters
    ----------
    cells : numpy.ndarray
        (n,) of dtype `CELL`, the uppermost last.

    Returns
    -------
    list[Stamps]
        One entry per window size.
    """
    size = np.minimum(np.searchsorted(_WINDOWS, bounds(cells) + SOFT_EDGE), len(_WINDOWS) - 1)
    return [_stamp_window_size(cells, np.flatnonzero(size == k), _WINDOWS[k]) for k in np.unique(size)]


def _stamp_window_size(cells: NDArray[np.void], order: NDArray[np.int64], half: int) -> Stamps:
    chosen = cells[order]
    top = np.floor(chosen["y"]).astype(np.int64) - half
    left = np.floor(chosen["x"]).astype(np.int64) - half
    steps = np.arange(2 * half + 1, dtype=np.float32)
    dy = steps[None, :, None] - (chosen["y"] - top).astype(np.float32)[:, None, None]
    dx = steps[None, None, :] - (chosen["x"] - left).astype(np.float32)[:, None, None]
    return Stamps(chosen, order, top, left, _level(chosen, dy, dx))


def _level(cells: NDArray[np.void], dy: NDArray[np.float32], dx: NDArray[np.float32]) -> NDArray[np.float32]:
    def column(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return values.astype(np.float32)[:, None, None]

    long_axis = cells["radius"] * np.sqrt(cells["elongation"])
    short_axis = cells["radius"] / np.sqrt(cells["elongation"])
    cosine, sine = np.cos(cells["angle"]), np.sin(cells["angle"])
    u = dx * column(cosine / long_axis) + dy * column(sine / long_axis)
    v = dy * column(cosine / short_axis) - dx * column(sine / short_axis)
    squared = u * u + v * v
    radius = np.sqrt(squared)
    unit = 1 / np.maximum(radius, np.float32(1e-6))
    u, v = u * unit, v * unit
    # cos(k t) and sin(k t) as powers of exp(i t), which avoids trigonometry per pixel.
    outline = np.ones_like(radius)
    real, imaginary = u, v
    for k in range(3):
        real, imaginary = real * u - imaginary * v, real * v + imaginary * u
        outline += real * column(cells["wobble"][:, k].real)
        outline += imaginary * column(cells["wobble"][:, k].imag)
    return radius / outline


def windows(
    stamps: Stamps, region: Rectangle
) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the index of each cell that overlaps a region, and their overlap in region and window."""
    side = stamps.level.shape[1]
    tops, lefts = stamps.top.tolist(), stamps.left.tolist()
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        window = Rectangle(top, left, top + side, left + side)
        part = window.cut(region)
        if part.top < part.bottom and part.left < part.right:
            yield i, part.inside(region), part.inside(window)


def paint_labels(stamps: list[Stamps], region: Rectangle) -> NDArray[np.uint32]:
    """Return the ids of the cells on a region, uint32 (y, x), 0 = background.

    A pixel belongs to a cell if its centre is inside the outline; the uppermost cell owns an overlap.
    """
    labels = np.zeros(region.shape, np.uint32)
    visible = []
    for group in stamps:
        inside = group.level <= 1
        for i, place, part in windows(group, region):
            if group.cells["kind"][i] != DEBRIS:
                visible.append((int(group.order[i]), group.cells["id"][i], place, inside[i][part]))
    for _, cell, place, mask in sorted(visible, key=lambda entry: entry[0]):
        np.copyto(labels[place], cell, where=mask)
    return labels


def add_stamps(
    canvas: NDArray[np.float32], values: NDArray[np.float32], stamps: Stamps, region: Rectangle
) -> None:
    """Add values in the cells' windows, (n, side, side), to a canvas that covers `region`, (y, x)."""
    for i, place, part in windows(stamps, region):
        canvas[place] += values[i][part]


def chromatin(stamps: Stamps, donor_seed: int, grain: float) -> NDArray[np.float32]:
    """Return a texture per window, (n, side, side): mean 0, standard deviation about 1."""
    side = stamps.level.shape[1]
    patches = np.lib.stride_tricks.sliding_window_view(_chromatin_atlas(donor_seed, grain), (side, side))
    y, x = stamps.cells["texture"].T % _ATLAS
    return patches[y, x]


@lru_cache(maxsize=64)
def _chromatin_atlas(donor_seed: int, grain: float) -> NDArray[np.float32]:
    """Return a periodic texture: fine grains, coarse clumps and a few dark nucleoli, float32 (y, x)."""
    rng = np.random.default_rng([donor_seed, int(Stream.CHROMATIN)])

    def noise(sigma: float) -> NDArray[np.float32]:
        smooth = ndimage.gaussian_filter(rng.standard_normal((_ATLAS, _ATLAS)), sigma, mode="wrap")
        return (smooth / smooth.std()).astype(np.float32)

    nucleoli = np.clip(noise(1.6 * grain + 0.6) - 1.5, 0, 0.8)
    texture = 0.8 * noise(grain) + 0.6 * noise(2.5 * grain) - 1.6 * nucleoli
    texture = (texture - texture.mean()) / texture.std()
    room = 2 * MAX_EXTENT + 1
    return np.pad(texture, ((0, room), (0, room)), mode="wrap").astype(np.float32)
