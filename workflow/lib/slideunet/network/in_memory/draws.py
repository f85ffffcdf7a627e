"""Random image, place, zoom and rotation of the patches of a step, with NumPy for a whole batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slideunet.network.in_memory.pool import NEGATIVE, PoolIndex
from slideunet.network.in_memory.prepared import LEVELS
from slideunet.network.in_memory.recipe import Recipe

_SPACING = 48  # px between the points of an elastic deformation
_AT_A_CELL = 0.5  # Share of the patches that have a cell near their middle.


@dataclass(frozen=True)
class Draws:
    """The geometry of n patches.

    Attributes
    ----------
    images : ndarray (n,) int64
    levels : ndarray (n,) int64
        Level of the pyramid; its pixels are zoomed by 0.7 to 1.4, except at the first and last level.
    zooms : ndarray (n,)
        Pixels of the patch per pixel of the image.
    middles : ndarray (n, 2)
        Middle of the patch (y, x) in px of the image.
    matrices : ndarray (n, 2, 2)
        From px of the patch to px of the image.
    bends : ndarray (n, 2, p, p)
        Elastic displacements in px of the image, at points evenly spaced over the patch.
    """

    images: np.ndarray
    levels: np.ndarray
    zooms: np.ndarray
    middles: np.ndarray
    matrices: np.ndarray
    bends: np.ndarray


def image_weights(
    index: PoolIndex, stratum_balance: float, source_balance: float, negatives: float
) -> np.ndarray:
    """Return the probability of each image, with a share of its own for negatives.

    A source has the weight of its number of images to the power of 1 - `source_balance`. Within a source the
    weight of an image is the root of its area, as in `patches`, divided by the total weight of its stratum to
    the power of `stratum_balance`.
    """
    weights = np.sqrt(index.sizes.prod(axis=1).astype(np.float64))
    places = list(zip(index.sources, index.strata, strict=True))
    weights /= _sums(weights, places) ** stratum_balance
    weights /= _sums(weights, index.sources)
    weights *= _sums(np.ones(len(weights)), index.sources) ** (1 - source_balance)
    negative = np.array([source == NEGATIVE for source in index.sources])
    share = negatives if negative.any() else 0.0
    totals = _sums(weights, negative.tolist())
    return np.where(negative, share, 1 - share) * weights / totals


def _sums(weights: np.ndarray, names: Sequence[object]) -> np.ndarray:
    """Return, for each weight, the sum of the weights of the same name."""
    totals: dict[object, float] = {}
    for name, weight in zip(names, weights, strict=True):
        totals[name] = totals.get(name, 0.0) + weight
    return np.array([totals[name] for name in names])


def draw_patches(index: PoolIndex, weights: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> Draws:
    """Draw the patches of a batch.

    Parameters
    ----------
    index : PoolIndex
    weights : ndarray (images,)
        From `image_weights`.
    recipe : Recipe
    rng : Generator
    """
    n = recipe.batch_size
    images = rng.choice(len(weights), n, p=weights)
    negative = np.array([index.sources[image] == NEGATIVE for image in images])
    native = (rng.random(n) < recipe.native) | negative
    zooms = np.where(native, 1.0, _zooms(index, images, recipe, rng))
    angles = np.where(native, 0.0, rng.uniform(-1, 1, n) * np.deg2rad(recipe.augmentation["rotation"]))
    matrices = _turns(angles, recipe.augmentation["flip"], rng) / zooms[:, None, None]
    points = recipe.patch_size // _SPACING + 2
    bends = recipe.augmentation["elastic"] * rng.uniform(-1, 1, (n, 2, points, points))
    return Draws(
        images=images,
        levels=np.clip(np.rint(-np.log2(zooms)), 0, LEVELS - 1).astype(np.int64),
        zooms=zooms,
        middles=_middles(index, images, recipe.patch_size / zooms, rng),
        matrices=matrices,
        bends=np.where(native, 0.0, 1 / zooms)[:, None, None, None] * bends,
    )


def _zooms(index: PoolIndex, images: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Draw zooms that spread the diameters log-uniformly; an image fills at least half a patch."""
    low, high = np.log(recipe.diameters)
    diameters = np.exp(rng.uniform(low, high, len(images)))
    least = recipe.patch_size / 2 / index.sizes[images].min(axis=1)
    return np.maximum(diameters / index.diameters[images], least)


def _turns(angles: np.ndarray, flip: float, rng: np.random.Generator) -> np.ndarray:
    """Return matrices (n, 2, 2) that turn by the angles, and at random by quarter turns and mirroring."""
    n = len(angles)
    quarters = np.where(rng.random(n) < flip, rng.integers(1, 4, n), 0)
    # Exact integers for quarter turns, so that pixels map onto pixels.
    table = np.array([[1, 0, -1, 0], [0, 1, 0, -1]], np.float64)
    cos, sin = table[:, quarters]
    quarter = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    cos, sin = np.cos(angles), np.sin(angles)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    mirrors = np.where(rng.random((n, 2)) < flip, -1.0, 1.0)
    return quarter @ turn * mirrors[:, None, :]


def _middles(index: PoolIndex, images: np.ndarray, sides: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the middles (n, 2) of patches with these sides, in px of the image; they are inside if they fit.

    Where the side is an integer, patches begin at whole pixels of the image.
    """
    n = len(images)
    sizes = index.sizes[images]
    spare = np.maximum(sizes - sides[:, None], 0)
    starts = rng.random((n, 2)) * (np.floor(spare) + 1)
    at_cell, shift = rng.random(n) < _AT_A_CELL, rng.uniform(-0.25, 0.25, (n, 2))
    for i in np.flatnonzero(at_cell):
        centres = index.centres[images[i]]
        if len(centres):
            chosen = centres[rng.integers(len(centres))]
            starts[i] = chosen + (shift[i] - 0.5) * sides[i]
    starts = np.floor(np.clip(starts, 0, spare))
    beyond = np.floor((sizes - sides[:, None]) / 2)
    return np.where(spare > 0, starts, beyond) + (sides[:, None] - 1) / 2
