"""Cell positions and shapes: a marked cluster process with a soft core, computable for any region."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from synthetic.donors import Population
from synthetic.randomness import Stream, place_generator
from synthetic.scene import LATTICE, SLOTS, Rectangle, Scene

Habitat = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]

# Hard limits of the distance at which a cell can influence a pixel. SOFT_EDGE is the blurred rim of cells
# out of focus.
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

    Each lattice cell samples single cells and clusters (a Neyman-Scott process) from its own generator. A
    candidate is dropped if one of higher priority is too near (Matern type II thinning). Because this
    depends on neighbours alone, overlapping regions agree.

    Parameters
    ----------
    region : Rectangle
        May extend beyond the slide.
    scene : Scene
        The slide.
    population : Population
        Parameters of the donor's cells.
    habitat : callable
        ``habitat(y, x) -> bool (n,)``: where cells can grow.

    Returns
    -------
    numpy.ndarray
        (n,) of dtype `CELL`, sorted by priority. Debris has id 0.
    """
    cells = _candidates_around(region.grown(MAX_EXTENT + int(2 * MAX_RADIUS)), scene, population)
    cells = cells[(cells["kind"] == DEBRIS) | habitat(cells["y"], cells["x"])]
    cells = cells[~_crowded_out(cells, population.contact)]
    reach = region.grown(MAX_EXTENT)
    near = (cells["y"] >= reach.top) & (cells["y"] < reach.bottom)
    near &= (cells["x"] >= reach.left) & (cells["x"] < reach.right)
    cells = cells[near]
    return cells[np.lexsort((cells["x"], cells["y"], cells["priority"]))]


def _candidates_around(region: Rectangle, scene: Scene, population: Population) -> NDArray[np.void]:
    reach = region.grown(int(MAX_CLUSTER_SPREAD))
    rows, columns = scene.lattice_shape
    iys = range(max(-1, reach.top // LATTICE), min(rows - 2, reach.bottom // LATTICE) + 1)
    ixs = range(max(-1, reach.left // LATTICE), min(columns - 2, reach.right // LATTICE) + 1)
    return np.concatenate([_candidates(scene, population, iy, ix) for iy in iys for ix in ixs])


def _crowded_out(cells: NDArray[np.void], contact: float) -> NDArray[np.bool_]:
    dropped = np.zeros(len(cells), bool)
    nuclei = np.flatnonzero(cells["kind"] != DEBRIS)
    points = np.column_stack([cells["y"][nuclei], cells["x"][nuclei]])
    if len(points) < 2:
        return dropped
    pairs = nuclei[cKDTree(points).query_pairs(2 * MAX_RADIUS, output_type="ndarray")]
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
    points = [rng.uniform(0, LATTICE, (rng.poisson(population.singles * density), 2))]
    for _ in range(rng.poisson(population.clusters * density)):
        centre = rng.uniform(0, LATTICE, 2)
        spread = rng.normal(0, population.cluster_spread, (rng.poisson(population.cluster_size), 2))
        points.append(centre + np.clip(spread, -MAX_CLUSTER_SPREAD, MAX_CLUSTER_SPREAD))
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
    # Higher orders are weaker, as in real outlines; the limit prevents outlines that cross themselves.
    cells["wobble"] = np.clip(wobble.real, -0.12, 0.12) + 1j * np.clip(wobble.imag, -0.12, 0.12)
    cells["wobble"] *= (1, 0.8, 0.5)
    cells["radius"] *= np.minimum(1, (MAX_EXTENT - SOFT_EDGE) / bounds(cells))
    cells["brightness"] = np.exp(np.clip(rng.normal(0, population.brightness_spread, n), -0.7, 0.9))
    cells["brightness"] *= np.where(condensed, 1.7, 1)
    defocused = rng.uniform(0, 1, n) < population.defocused
    cells["defocus"] = np.where(defocused, rng.uniform(1.0, 2.2, n), rng.uniform(0.3, 0.5, n))
    cells["texture"] = rng.integers(0, 1 << 20, (n, 2))


def bounds(cells: NDArray[np.void]) -> NDArray[np.float64]:
    """Return an upper bound of the distance of each outline from its centre, (n,), pixels."""
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
