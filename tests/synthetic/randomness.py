"""Random numbers bound to places of a slide, independent of the order in which places are drawn."""

import enum
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Seeds must not be negative, but lattice indices start at -1, one lattice cell outside the slide.
_ORIGIN = 1 << 20
_NODES = 16


class Stream(enum.IntEnum):
    """Independent random streams of one seed; changing a value changes every drawn slide."""

    DONOR = 0
    CELLS = 1
    CHROMATIN = 2
    NOISE = 3
    HABITAT = 4
    BORDER = 5
    ILLUMINATION = 6
    HAZE = 7
    FIBRES = 8
    FIBRE_DETAIL = 9
    GRAIN = 10
    LUMEN = 11
    BUNDLES = 12


def place_generator(seed: int, stream: Stream, iy: int, ix: int) -> np.random.Generator:
    """Return the generator of the lattice place ``(iy, ix)`` of one stream."""
    return np.random.default_rng([seed, int(stream), iy + _ORIGIN, ix + _ORIGIN])


@lru_cache(maxsize=1024)
def _node_block(seed: int, stream: Stream, by: int, bx: int) -> NDArray[np.float32]:
    return place_generator(seed, stream, by, bx).standard_normal((_NODES, _NODES), dtype=np.float32)


def _nodes(seed: int, stream: Stream, rows: range, columns: range) -> NDArray[np.float32]:
    blocks_y = range(rows.start // _NODES, (rows.stop - 1) // _NODES + 1)
    blocks_x = range(columns.start // _NODES, (columns.stop - 1) // _NODES + 1)
    nodes = np.block([[_node_block(seed, stream, by, bx) for bx in blocks_x] for by in blocks_y])
    top, left = rows.start - blocks_y.start * _NODES, columns.start - blocks_x.start * _NODES
    return nodes[top : top + len(rows), left : left + len(columns)]


def _spline_weights(t: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the four weights of the uniform cubic B-spline at the fractions `t` in [0, 1)."""
    return (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )


@dataclass(frozen=True)
class SmoothField:
    """Smooth random field of the plane: normal values on a lattice, interpolated by a cubic B-spline.

    Mean 0, standard deviation about 1. Any part can be computed alone. `spacing` is the distance of the
    lattice nodes in pixels, and so the size of the features.
    """

    seed: int
    stream: Stream
    spacing: int

    # Restores a standard deviation of about 1, which the averaging B-spline reduces.
    _GAIN = 2.09

    def grid(self, y: range, x: range) -> NDArray[np.float32]:
        """Return the field on the grid ``y`` times ``x``, float32 (len(y), len(x))."""
        rows, row_weights = self._taps(np.asarray(y, np.float64))
        columns, column_weights = self._taps(np.asarray(x, np.float64))
        nodes = _nodes(self.seed, self.stream, _span(rows), _span(columns))
        rows, columns = rows - rows[0], columns - columns[0]
        across = sum(
            nodes[:, columns + k] * (self._GAIN * w).astype(np.float32) for k, w in enumerate(column_weights)
        )
        out = np.zeros((len(y), len(x)), np.float32)
        for k, w in enumerate(row_weights):
            out += np.take(across, rows + k, axis=0) * w.astype(np.float32)[:, None]
        return out

    def at(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the field at the points ``(y, x)``, float64 (n,)."""
        if len(y) == 0:
            return np.zeros(0)
        rows, row_weights = self._taps(y)
        columns, column_weights = self._taps(x)
        nodes = _nodes(self.seed, self.stream, _span(rows), _span(columns))
        rows, columns = rows - rows.min(), columns - columns.min()
        out = np.zeros(len(y))
        for i, wy in enumerate(row_weights):
            for j, wx in enumerate(column_weights):
                out += nodes[rows + i, columns + j] * wy * wx
        return out * self._GAIN

    def _taps(
        self, position: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], tuple[NDArray[np.float64], ...]]:
        scaled = position / self.spacing
        first = np.floor(scaled)
        return first.astype(np.int64) - 1, _spline_weights(scaled - first)


def _span(first: NDArray[np.int64]) -> range:
    return range(int(first.min()), int(first.max()) + 4)
