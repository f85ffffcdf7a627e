"""The range of cell diameters that suits a model, chosen by the mean score over sources."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from skimage.transform import resize

from slideunet.cells.separation.decoding import Decoding
from slideunet.network.in_memory.archive import PackedImage
from slideunet.network.in_memory.prepared import truth
from slideunet.network.in_memory.recipe import Recipe
from slideunet.network.in_memory.scores import ImageScore, by_source, means, score_image
from slideunet.network.in_memory.tuning.constants import Shown
from slideunet.network.in_memory.validation import predict_image
from slideunet.network.inference.engines import Engine
from slideunet.network.inference.scaling.cell_size import typical
from slideunet.network.inference.scaling.sizing import scale_for
from slideunet.truth.ignore_label import cells_alone

ZOOMS = (0.5, 1.0, 2.0)
SCALES = (0.5, 1.0, 2.0, 4.0)
LOWEST = (1, 8, 10, 12, 14, 16, 20)
HIGHEST = (30, 40, 50, 60, 80, 10_000)  # px; the first of one and the last of the other scale nothing
AS_GOOD = 0.005  # Of AP@0.5: less than what another seed changes.
SIDE = 1024  # Largest side of an image, in pixels; what is beyond is left out.


@dataclass(frozen=True)
class Seen:
    """An image that was seen at several scales.

    Attributes
    ----------
    source : str
    diameter : float
        Of its true cells, in pixels; see `cell_size.typical`.
    scores : dict
        Scale to scores.
    """

    source: str
    diameter: float
    scores: dict[float, ImageScore]


def best_diameters_of(seen: Sequence[Seen]) -> tuple[int, int]:
    """Return the range outside of which images are scaled, chosen by AP@0.5 in the mean over sources.

    Of ranges that are as good as the best it is the one with the smallest lower end, because enlarged images
    cost time, and of these the one with the largest upper end.
    """
    scores = {best: _score(seen, best) for best in itertools.product(LOWEST, HIGHEST)}
    good = [best for best, score in scores.items() if score >= max(scores.values()) - AS_GOOD]
    return min(good, key=lambda best: (best[0], -best[1]))


def _score(seen: Sequence[Seen], best: tuple[int, int]) -> float:
    scored = ((one.source, _at(one, scale_for(one.diameter, best))) for one in seen)
    return means(by_source(scored))["ap50"]


def see(engine: Engine, images: Sequence[PackedImage], recipe: Recipe, decoding: Decoding) -> Iterator[Seen]:
    """Yield validation images at several zooms, each scored at several scales."""
    for source, image, labels, diameter in at_zooms(images, ZOOMS):
        scores = {
            scale: score_image(labels, predict_image(engine, image, recipe, scale), decoding)
            for scale in SCALES
        }
        yield Seen(source, diameter, scores)


def as_predicted(
    engine: Engine,
    images: Sequence[PackedImage],
    recipe: Recipe,
    *,
    zooms: Sequence[float],
    best: tuple[float, float],
) -> Iterator[tuple[str, Shown]]:
    """Yield the source, and truth and maps, of images at several zooms, seen at the scale for their cells."""
    for source, image, labels, diameter in at_zooms(images, zooms):
        yield source, (labels, predict_image(engine, image, recipe, scale_for(diameter, best)))


def at_zooms(
    images: Sequence[PackedImage], zooms: Sequence[float]
) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """Yield source, image (c, y, x), ground truth (y, x) and typical diameter in pixels, at every zoom.

    An image without a cell is left out.
    """
    for packed, zoom in itertools.product(images, zooms):
        image, ids = zoomed(zoom, packed.image, packed.labels)
        labels = truth(ids[:SIDE, :SIDE])
        areas = np.bincount(cells_alone(labels).ravel())[1:]
        if areas.any():
            yield packed.entry.source, image[:, :SIDE, :SIDE], labels, typical(areas)


def zoomed(factor: float, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image (c, y, x) of uint8, bilinear and anti-aliased, and its labels (y, x), nearest."""
    if factor == 1:
        return image, labels
    shape = tuple(max(round(side * factor), 1) for side in labels.shape)
    scaled = resize(image, (len(image), *shape), order=1, anti_aliasing=factor < 1, preserve_range=True)
    nearest = resize(labels, shape, order=0, anti_aliasing=False, preserve_range=True)
    return np.rint(scaled).astype(np.uint8), nearest.astype(labels.dtype)


def _at(seen: Seen, scale: float) -> ImageScore:
    """Return the scores at the nearest scale that was tried."""
    return seen.scores[min(max(scale, SCALES[0]), SCALES[-1])]
