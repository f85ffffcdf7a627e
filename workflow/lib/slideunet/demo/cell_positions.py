"""Where the cells are: a marked cluster process with a soft core, decided place by place."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from slideunet.demo.donors import Population
from slideunet.demo.randomness import Stream, place_generator
from slideunet.demo.scene import LATTICE, SLOTS, Rectangle, Scene

Habitat = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]

# Every length that decides how far one pixel looks; all are hard limits, not typical values. Around its
# outline a cell needs room for the soft edge that it has when it is out of focus.
MAX_EXTENT = 40
SOFT_EDGE = 7
MAX_RADIUS = 20.0
MAX_CLUSTER_SPREAD = 64.0

NUCLEUS, CONDENSED, DEBRIS = 0, 1, 2

CELL = np.dtype(
    [
        ("id", np.uint32),
        ("kind", np.uint8),
        ("priority", np.float64),
        ("y", np.float64),
        ("x", np.float64),
        ("radius", np.float64),
        ("elongation", np.float64),
        ("angle", np.float64),
        ("wobble", np.complex128, (3,)),
        ("brightness", np.float64),
        ("defocus", np.float64),
        ("texture", np.int64, (2,)),
    ]
)


def cells_near(region: Rectangle, scene: Scene, population: Population, habitat: Habitat) -> NDArray[np.void]:
    """Return the cells and debris that may touch a region, from the lowest to the uppermost.

    Candidates are drawn for each lattice cell from its own generator: lone cells and clusters
    (a Neyman-Scott process). A candidate is dropped when one of higher priority is too near (Matern's
    second thinning), which needs no more than its neighbours, so that every region decides alike.

    Parameters
    ----------
    region : Rectangle
        A rectangle, which may reach beyond the slide.
    scene : Scene
        The slide.
    population : Population
        The donor's cells.
    habitat : callable
        ``habitat(y, x) -> bool (n,)``: where cells can live.

    Returns
    -------
    numpy.ndarray
        (n,) of dtype `CELL`, sorted by priority. Debris has id 0.
    """
    found = _candidates_around(region.grown(MAX_EXTENT + int(2 * MAX_RADIUS)), scene, population)
    found = found[(found["kind"] == DEBRIS) | habitat(found["y"], found["x"])]
    kept = found[~_crowded_out(found, population.contact)]
    reach = region.grown(MAX_EXTENT)
    near = (kept["y"] >= reach.top) & (kept["y"] < reach.bottom)
    near &= (kept["x"] >= reach.left) & (kept["x"] < reach.right)
    kept = kept[near]
    return kept[np.lexsort((kept["x"], kept["y"], kept["priority"]))]


def _candidates_around(region: Rectangle, scene: Scene, population: Population) -> NDArray[np.void]:
    reach = region.grown(int(MAX_CLUSTER_SPREAD))
    rows, columns = scene.lattice_shape
    iys = range(max(-1, reach.top // LATTICE), min(rows - 2, reach.bottom // LATTICE) + 1)
    ixs = range(max(-1, reach.left // LATTICE), min(columns - 2, reach.right // LATTICE) + 1)
    return np.concatenate([_candidates(scene, population, iy, ix) for iy in iys for ix in ixs])


def _crowded_out(cells: NDArray[np.void], contact: float) -> NDArray[np.bool_]:
    dropped = np.zeros(len(cells), bool)
    living = np.flatnonzero(cells["kind"] != DEBRIS)
    points = np.column_stack([cells["y"][living], cells["x"][living]])
    if len(points) < 2:
        return dropped
    pairs = living[cKDTree(points).query_pairs(2 * MAX_RADIUS, output_type="ndarray")]
    first, second = cells[pairs[:, 0]], cells[pairs[:, 1]]
    squared = (first["y"] - second["y"]) ** 2 + (first["x"] - second["x"]) ** 2
    close = squared < (contact * (first["radius"] + second["radius"])) ** 2
    first_is_lower = first["priority"] < second["priority"]
    dropped[pairs[close & first_is_lower, 0]] = True
    dropped[pairs[close & ~first_is_lower, 1]] = True
    return dropped


@lru_cache(maxsize=4096)
def _candidates(scene: Scene, population: Population, iy: int, ix: int) -> NDArray[np.void]:
    rng = place_generator(scene.seed, Stream.CELLS, iy, ix)
    y, x = _positions(rng, population, scene.density)
    n_debris = min(int(rng.poisson(population.debris)), SLOTS)
    cells = np.zeros(len(y) + n_debris, CELL)
    first_id = ((iy + 1) * scene.lattice_shape[1] + ix + 1) * SLOTS + 1
    cells["id"][: len(y)] = first_id + np.arange(len(y))
    cells["y"] = np.concatenate([y, rng.uniform(0, LATTICE, n_debris)]) + iy * LATTICE
    cells["x"] = np.concatenate([x, rng.uniform(0, LATTICE, n_debris)]) + ix * LATTICE
    _shape(cells, rng, population)
    _shape_debris(cells[len(y) :], rng)
    cells.setflags(write=False)
    return cells


def _positions(
    rng: np.random.Generator, population: Population, density: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lone = rng.uniform(0, LATTICE, (rng.poisson(population.singles * density), 2))
    points = [lone]
    for _ in range(rng.poisson(population.clusters * density)):
        middle = rng.uniform(0, LATTICE, 2)
        spread = rng.normal(0, population.cluster_spread, (rng.poisson(population.cluster_size), 2))
        points.append(middle + np.clip(spread, -MAX_CLUSTER_SPREAD, MAX_CLUSTER_SPREAD))
    y, x = np.concatenate(points)[:SLOTS].T
    return y, x


def _shape(cells: NDArray[np.void], rng: np.random.Generator, population: Population) -> None:
    n = len(cells)
    cells["priority"] = rng.uniform(0, 1, n)
    cells["kind"] = np.where(rng.uniform(0, 1, n) < population.condensed, CONDENSED, NUCLEUS)
    condensed = cells["kind"] == CONDENSED
    radius = population.radius * np.exp(rng.normal(0, population.radius_spread, n))
    cells["radius"] = np.clip(radius * np.where(condensed, 0.75, 1), 4.5, MAX_RADIUS)
    cells["elongation"] = np.minimum(1 + rng.gamma(2, population.elongation / 2, n), 3.2)
    cells["angle"] = rng.uniform(0, np.pi, n)
    wobble = rng.normal(0, population.wobble, (n, 3)) + 1j * rng.normal(0, population.wobble, (n, 3))
    # Higher orders are weaker, as on real outlines, and no outline may fold onto itself.
    cells["wobble"] = np.clip(wobble.real, -0.12, 0.12) + 1j * np.clip(wobble.imag, -0.12, 0.12)
    cells["wobble"] *= (1, 0.8, 0.5)
    cells["radius"] *= np.minimum(1, (MAX_EXTENT - SOFT_EDGE) / bounds(cells))
    cells["brightness"] = np.exp(np.clip(rng.normal(0, population.brightness_spread, n), -0.7, 0.9))
    cells["brightness"] *= np.where(condensed, 1.7, 1)
    away = rng.uniform(0, 1, n) < population.defocused
    cells["defocus"] = np.where(away, rng.uniform(1.0, 2.2, n), rng.uniform(0.3, 0.5, n))
    cells["texture"] = rng.integers(0, 1 << 20, (n, 2))


def bounds(cells: NDArray[np.void]) -> NDArray[np.float64]:
    """Return for each cell the distance from its centre that its outline never exceeds, (n,), pixels."""
    return cells["radius"] * np.sqrt(cells["elongation"]) * (1 + np.abs(cells["wobble"]).sum(axis=1))


def _shape_debris(debris: NDArray[np.void], rng: np.random.Generator) -> None:
    n = len(debris)
    fibre = rng.uniform(0, 1, n) < 0.2
    debris["id"] = 0
    debris["kind"] = DEBRIS
    debris["radius"] = np.where(fibre, rng.uniform(3, 5, n), np.exp(rng.normal(0.4, 0.4, n)).clip(0.8, 4))
    debris["elongation"] = np.where(fibre, rng.uniform(6, 14, n), rng.uniform(1, 2, n))
    debris["wobble"] *= 2
    debris["brightness"] = np.exp(rng.normal(0.1, 0.5, n)).clip(0.4, 3) * np.where(fibre, 0.5, 1)
    debris["defocus"] = rng.uniform(0.3, 0.8, n)
