"""How well each method of `cells.separation.decoding` separates the cells of the validation slides."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from slideunet.cells.separation.decoding import Decoding, Method, fitting_methods
from slideunet.cells.separation.label_block import SlideMaps, label_block
from slideunet.cells.separation.separate import MERGE_RATIOS, Maps, kept_cells, separate
from slideunet.geometry.blocks import BlockGrid, Region
from slideunet.geometry.pixels import Pixels
from slideunet.geometry.runs import runs_of
from slideunet.network.inference.engines import Engine
from slideunet.network.inference.predict_region import predict_core
from slideunet.network.patches.annotated import annotated_spots
from slideunet.network.patches.dataset import LabelledSlide
from slideunet.scoring.instance_metrics import InstanceCounts, count_instances
from slideunet.scoring.matching import match, match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.slides.slide_image import open_slide_image
from slideunet.stores.verified import open_label_store

T = TypeVar("T")
MERGE_RATIOS_TRIED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
MIN_PROBABILITIES_TRIED = (0.0, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95)
_AS_GOOD = 0.005  # Of AP@0.5: less than what another seed changes.

Tried = dict[tuple[float | None, float], InstanceCounts]
"""By merge ratio and least probability, how many cells were found."""


def compare_methods(
    engine: Engine, slides: Sequence[LabelledSlide], threshold: float
) -> dict[Method, dict[str, float]]:
    """Separate the cells of validation slides by every method that the network allows, and score them.

    Of a slide of several blocks the middle one is looked at. For methods that join basins the merge ratio is
    tuned: of those in `MERGE_RATIOS_TRIED` that are within a standard error of the best, the one nearest to
    the usual one, so that a few cells do not choose it (the rule of Breiman et al. 1984). With it the least
    probability of a cell is: of `MIN_PROBABILITIES_TRIED` the lowest that is as good as the best.

    Parameters
    ----------
    engine : Engine
    slides : sequence of LabelledSlide
    threshold : float
        Foreground is probability >= threshold (0 to 1).

    Returns
    -------
    dict
        Of each method, the best in general first: "ap50" and "map", the average precision at IoU 0.5 and its
        mean over 0.50 to 0.95, of the counts of all slides together; "min_probability", and "merge_ratio"
        where the method has one.
    """
    tried: dict[Method, Tried] = {method: {} for method in fitting_methods(engine.spec.maps)}
    for slide in slides:
        try_decodings(tried, *middle_block(engine, slide), threshold)
    return chosen_decodings([tried])


def try_decodings(
    tried: Mapping[Method, Tried], truth: np.ndarray, maps: Mapping[str, np.ndarray], threshold: float
) -> None:
    """Separate the cells of an image by every method in `tried` and every constant, and add the counts there.

    Parameters
    ----------
    tried : mapping
        From each method to what has been counted so far.
    truth : ndarray (y, x) uint32
    maps : mapping to ndarray (y, x) uint8
    threshold : float
        Foreground is probability >= threshold (0 to 1).
    """
    for method, sums in tried.items():
        for ratio in _ratios(method):
            decoding = Decoding(threshold, method, merge_ratio=ratio)
            found = _by_probability(truth, maps, decoding)
            for least, counts in zip(MIN_PROBABILITIES_TRIED, found, strict=True):
                sums[ratio, least] = sums.get((ratio, least), InstanceCounts()) + counts


def chosen_decodings(sources: Sequence[Mapping[Method, Tried]]) -> dict[Method, dict[str, float]]:
    """Return the scores and the constants of every method, chosen by the mean over sources.

    Parameters
    ----------
    sources : sequence of mapping
        What `try_decodings` counted, of each source.
    """
    found = {method: _tuned(method, [tried[method] for tried in sources]) for method in sources[0]}
    logging.info(_told(found))
    return found


def _ratios(method: Method) -> tuple[float | None, ...]:
    usual = MERGE_RATIOS.get(method)
    return (None,) if usual is None else tuple(sorted({*MERGE_RATIOS_TRIED, usual}))


def middle_block(engine: Engine, slide: LabelledSlide) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the truth and the predicted maps of a slide's middle block.

    Of a slide that is annotated in part, the block with most of the annotation takes its place.
    """
    rows, columns = _block_to_score(slide)
    truth = open_label_store(slide.manifest, "truth")[rows, columns]
    core = ((rows.start, rows.stop), (columns.start, columns.stop))
    planes = predict_core(engine, open_slide_image(slide.manifest), slide.normalisation, core)
    return truth, dict(zip(engine.spec.maps, planes, strict=True))


def _block_to_score(slide: LabelledSlide) -> Region:
    grid = BlockGrid(slide.shape)
    found = annotated_spots(slide.manifest) if len(grid) > 1 else None
    if found is None:
        return grid[len(grid) // 2]
    spots, side = found
    return max(
        grid,
        key=lambda block: spots[*(slice(part.start // side, -(-part.stop // side)) for part in block)].sum(),
    )


def _by_probability(
    truth: np.ndarray, maps: Mapping[str, np.ndarray], decoding: Decoding
) -> Iterator[InstanceCounts]:
    """Yield what is found with each of `MIN_PROBABILITIES_TRIED`; the cells are separated once for all."""
    cells = separate(maps, decoding)
    rows = count_overlaps(truth, cells)
    runs, count = runs_of(cells), int(cells.max(initial=0)) + 1
    areas, totals = runs.areas(count), runs.totals(maps["foreground"], count)
    for least in MIN_PROBABILITIES_TRIED:
        asked = replace(decoding, min_probability=least)
        kept = kept_cells(areas, totals, asked)
        left = rows.copy()
        left["cell"] *= kept[left["cell"]]
        yield count_instances(match_arrays(left[(left["truth"] > 0) | (left["cell"] > 0)]))


def _tuned(method: Method, sources: Sequence[Tried]) -> dict[str, float]:
    """Return the scores of a method with its best merge ratio and least probability."""
    ratios = [ratio for ratio, least in sources[0] if least == 0]
    plain = {ratio: [tried[ratio, 0.0] for tried in sources] for ratio in ratios}
    certain = max(_AS_GOOD, _standard_error(max(plain.values(), key=_ap50)))
    ratio = min(_good(plain, certain), key=lambda ratio: abs((ratio or 0) - MERGE_RATIOS.get(method, 0)))
    sure = {least: [tried[ratio, least] for tried in sources] for least in MIN_PROBABILITIES_TRIED}
    least = min(_good(sure, _AS_GOOD))
    mean_ap = float(np.mean([counts.mean_ap for counts in sure[least]]))
    found = {"ap50": _ap50(sure[least]), "map": mean_ap, "min_probability": least}
    return found if ratio is None else found | {"merge_ratio": ratio}


def _good(tried: Mapping[T, Sequence[InstanceCounts]], margin: float) -> list[T]:
    """Return what is as good as the best but for a margin, by AP@0.5."""
    best = max(map(_ap50, tried.values()))
    return [value for value, counts in tried.items() if _ap50(counts) >= best - margin]


def _ap50(sources: Sequence[InstanceCounts]) -> float:
    return float(np.mean([counts.ap[0] for counts in sources]))


def _standard_error(sources: Sequence[InstanceCounts]) -> float:
    """Return the standard error of `_ap50`: AP is the share tp / (tp + fp + fn) of a source's cells."""
    drawn = [counts.n_true + counts.n_pred - counts.tp[0] for counts in sources]
    aps = [counts.ap[0] for counts in sources]
    return math.sqrt(sum(ap * (1 - ap) / max(n, 1) for ap, n in zip(aps, drawn, strict=True))) / len(sources)


def score(truth: np.ndarray, maps: Mapping[str, np.ndarray], decoding: Decoding) -> InstanceCounts:
    """Separate the cells of maps (y, x) uint8 and count them against true labels (y, x)."""
    return count_instances(match_arrays(count_overlaps(truth, separate(maps, decoding))))


@dataclass(frozen=True)
class WholeMaps:
    """The maps of a slide as one array (maps, y, x) uint8, with their names; see `SlideMaps`."""

    names: Sequence[str]
    planes: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the slide."""
        return self.planes.shape[1], self.planes.shape[2]

    def __getitem__(self, window: Region) -> Maps:
        """Read a window of every map, by its name."""
        return dict(zip(self.names, np.asarray(self.planes[:, *window]), strict=True))


def match_cells(truth: Pixels, maps: SlideMaps, decoding: Decoding) -> InstanceCounts:
    """Separate the cells of a slide as `label_cells` does, and count them against true labels (y, x)."""
    tables, keys = [], []
    for index, region in enumerate(BlockGrid(maps.shape)):
        cells = label_block(maps, index, decoding)
        origin = (region[0].start, region[1].start)
        tables.append(count_overlaps(truth[region], cells.labels, origin, maps.shape[1]))
        keys.append(cells.keys)
    # A cell that several blocks see has the same key in all of them.
    ids = np.unique(np.concatenate(keys), axis=0, return_inverse=True)[1].ravel() + 1
    for table, own in zip(tables, np.split(ids, np.cumsum([len(seen) for seen in keys])[:-1]), strict=True):
        table["cell"] = np.concatenate([[0], own])[table["cell"]]
    return sum((count_instances(rows) for rows in match(tables)), InstanceCounts())


def _told(found: Mapping[Method, Mapping[str, float]]) -> str:
    scores = (f"{method} {values['ap50']:.3f} ({_constants(values)})" for method, values in found.items())
    return "Separation of the validation slides' cells, AP@0.5 (pooled): " + ", ".join(scores)


def _constants(values: Mapping[str, float]) -> str:
    names = {"merge_ratio": "merge ratio", "min_probability": "least probability"}
    return ", ".join(f"{told} {values[name]}" for name, told in names.items() if name in values)
