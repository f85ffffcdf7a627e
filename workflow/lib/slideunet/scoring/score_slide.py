"""Scores of one slide, computed block by block from anything that can be sliced like an array."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideunet import __version__
from slideunet.cells.separation.separate import foreground_cut
from slideunet.geometry.blocks import BlockGrid, Region, grown, within
from slideunet.geometry.pixels import Pixels
from slideunet.scoring.boundaries import MARGIN, NO_BOUNDARIES, BoundaryCounts, count_boundaries, cut_border
from slideunet.scoring.calibration import (
    LEVELS,
    NOTHING_PROBABLE,
    CalibrationCounts,
    calibration_of,
    count_cell_calibration,
    histogram,
)
from slideunet.scoring.class_counts import (
    NO_CROWDING,
    NO_SIZES,
    ClassCounts,
    count_crowding,
    count_sizes,
)
from slideunet.scoring.crowding import REACH, crowded_ids
from slideunet.scoring.error_examples import Example, find_examples, sample
from slideunet.scoring.external_grouping import Regroup, in_memory
from slideunet.scoring.instance_metrics import InstanceCounts, count_instances
from slideunet.scoring.matching import match
from slideunet.scoring.otsu_baseline import Polarity, cells_are_dark, foreground, grey, otsu_threshold
from slideunet.scoring.overlaps import Rows, count_overlaps
from slideunet.scoring.pixel_metrics import PixelCounts, count_pixels
from slideunet.stores.fingerprint import fingerprint
from slideunet.truth.ignore_label import cells_alone, foreground_and_valid

METRICS_VERSION = "4"
"""Part of the fingerprint of every score: raise it when a definition changes."""

PIXEL_METRICS = ("accuracy", "precision", "recall", "dice", "iou")


@dataclass(frozen=True)
class Score:
    """The counts of one slide.

    Attributes
    ----------
    pixel : PixelCounts
        Foreground is the union of all cells.
    semantic : PixelCounts
        Foreground is the thresholded probability, before separation and removal of small cells.
    otsu : PixelCounts
        Foreground is one class of a global Otsu threshold.
    instances : InstanceCounts
        Cells against ground-truth objects.
    sizes, crowding : ClassCounts
        The same by area, and of lone and crowded ones.
    calibration, cell_calibration : CalibrationCounts
        Probabilities of pixels to be foreground; mean probabilities of cells, and which of them match.
    boundaries : BoundaryCounts
        Distances of outlines.
    """

    pixel: PixelCounts
    semantic: PixelCounts
    otsu: PixelCounts
    instances: InstanceCounts
    sizes: ClassCounts = NO_SIZES
    crowding: ClassCounts = NO_CROWDING
    calibration: CalibrationCounts = NOTHING_PROBABLE
    cell_calibration: CalibrationCounts = NOTHING_PROBABLE
    boundaries: BoundaryCounts = NO_BOUNDARIES

    @property
    def empty(self) -> bool:
        """Whether neither truth nor prediction has foreground."""
        return self.pixel.empty

    def __add__(self, other: "Score") -> "Score":
        return Score(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    def values(self) -> dict[str, float]:
        """All metrics by their names in metrics.csv."""
        cells = self.instances
        return {
            **{metric: getattr(self.pixel, metric) for metric in PIXEL_METRICS},
            "ap50": cells.ap[0],
            "ap75": cells.ap[5],
            "map": cells.mean_ap,
            "f1_50": cells.f1[0],
            "pq": cells.pq,
            "sq": cells.sq,
            "rq": cells.rq,
            "aji": cells.aji,
            "semantic_dice": self.semantic.dice,
            "otsu_dice": self.otsu.dice,
            "otsu_iou": self.otsu.iou,
            "otsu_accuracy": self.otsu.accuracy,
        }

    def to_json(self) -> dict[str, Any]:
        """Counts and values, for results/metrics/{slide}.json."""
        return {
            "pixel": asdict(self.pixel),
            "instances": self.instances.to_json(),
            "semantic": asdict(self.semantic),
            "otsu": asdict(self.otsu),
            "sizes": asdict(self.sizes),
            "crowding": asdict(self.crowding),
            "calibration": asdict(self.calibration),
            "cell_calibration": asdict(self.cell_calibration),
            "boundaries": asdict(self.boundaries),
            "values": self.values(),
            "empty": self.empty,
        }

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Score":
        """Read the counts that `to_json` wrote."""
        return Score(
            pixel=PixelCounts.from_json(content["pixel"]),
            semantic=PixelCounts.from_json(content["semantic"]),
            otsu=PixelCounts.from_json(content["otsu"]),
            instances=InstanceCounts.from_json(content["instances"]),
            sizes=ClassCounts.from_json(content["sizes"]),
            crowding=ClassCounts.from_json(content["crowding"]),
            calibration=CalibrationCounts.from_json(content["calibration"]),
            cell_calibration=CalibrationCounts.from_json(content["cell_calibration"]),
            boundaries=BoundaryCounts.from_json(content["boundaries"]),
        )


def score_slide(
    image: Pixels,
    truth: Pixels,
    probability: Pixels,
    cells: Pixels,
    *,
    threshold: float,
    polarity: Polarity = "auto",
    regroup: Regroup = in_memory,
) -> tuple[Score, list[Example]]:
    """Compare a prediction with the ground truth, with one block or one part of the overlaps in memory.

    Parameters
    ----------
    image : Pixels, (c, y, x)
        The slide on the working grid, for the Otsu baseline.
    truth, cells : Pixels of integers, (y, x)
        Labels, 0 = background; the ignore label of `truth` is `IGNORE_LABEL`.
    probability : Pixels of uint8, (1, y, x)
        Foreground probability times 255.
    threshold : float
        Least probability of a foreground pixel, in (0, 1).
    polarity : {"auto", "bright", "dark"}
        Class of the Otsu baseline that is taken as cells; see `otsu_baseline.cells_are_dark`.
    regroup : callable
        How the overlaps of many blocks are grouped; see `external_grouping`.

    Returns
    -------
    Score
    list of Example
        A sample of the errors of each kind.
    """
    cut, dark = _otsu(image, polarity)
    pixel, otsu = PixelCounts(), PixelCounts()
    probable, boundaries = np.zeros((2, LEVELS), np.int64), NO_BOUNDARIES
    for region in BlockGrid(truth.shape):
        window = grown(region, truth.shape, MARGIN)
        labels, found, inside = np.asarray(truth[window]), np.asarray(cells[window]), within(region, window)
        boundaries += count_boundaries(labels, found, inside, cut_border(window, truth.shape))
        true, valid = foreground_and_valid(labels[inside])
        true = true[valid]
        pixel += count_pixels(true, found[inside][valid] > 0)
        probable += histogram(np.asarray(probability[(0, *region)])[valid], true)
        otsu += count_pixels(true, foreground(grey(image[(..., *region)])[valid], cut, dark=dark))
    tables = (_overlaps_of(truth, cells, probability, region) for region in BlockGrid(truth.shape))
    counts, examples = compare_instances(tables, truth.shape[1], regroup)
    semantic, calibration = _thresholded(probable, foreground_cut(threshold)), calibration_of(probable)
    return Score(pixel, semantic, otsu, **counts, calibration=calibration, boundaries=boundaries), examples


def compare_instances(
    tables: Iterable[Rows], width: int, regroup: Regroup = in_memory
) -> tuple[dict[str, Any], list[Example]]:
    """Count instances and sample errors of a slide of this width, from the overlaps of its blocks.

    Returns
    -------
    dict
        The fields of `Score` that are made from overlaps, by their names.
    list of Example
    """
    instances, sizes, crowding, calibration = InstanceCounts(), NO_SIZES, NO_CROWDING, NOTHING_PROBABLE
    examples: list[Example] = []
    for rows in match(tables, regroup):
        instances += count_instances(rows)
        sizes += count_sizes(rows)
        crowding += count_crowding(rows)
        calibration += count_cell_calibration(rows)
        examples = sample([*examples, *find_examples(rows, width)])
    parts = {"instances": instances, "sizes": sizes, "crowding": crowding, "cell_calibration": calibration}
    return parts, examples


def _thresholded(counts: NDArray[np.int64], cut: int) -> PixelCounts:
    fp, tp = counts[:, cut:].sum(axis=1).tolist()
    tn, fn = counts[:, :cut].sum(axis=1).tolist()
    return PixelCounts(tp, fp, fn, tn)


def _overlaps_of(truth: Pixels, cells: Pixels, probability: Pixels, region: Region) -> Rows:
    """Count the overlaps in a block; its margin shows which objects and cells are crowded."""
    height, width = truth.shape
    window = grown(region, (height, width), REACH)
    inside = within(region, window)
    true, found = np.asarray(truth[window]), np.asarray(cells[window])
    origin = (region[0].start, region[1].start)
    rows = count_overlaps(true[inside], found[inside], origin, width, probability[(0, *region)])
    rows["truth_crowded"] = np.isin(rows["truth"], crowded_ids(cells_alone(true)))
    rows["cell_crowded"] = np.isin(rows["cell"], crowded_ids(found))
    return rows


def _otsu(image: Pixels, polarity: Polarity) -> tuple[float, bool]:
    lows, highs = zip(*((block.min(), block.max()) for block in _grey_blocks(image)), strict=True)
    low, high = float(min(lows)), float(max(highs))
    threshold, bright = otsu_threshold(_grey_blocks(image), low, high)
    # A constant image has no second class: its foreground is empty.
    return threshold, high > low and cells_are_dark(bright, polarity)


def _grey_blocks(image: Pixels) -> Iterator[NDArray[np.float64]]:
    return (grey(image[(..., *region)]) for region in BlockGrid(image.shape))


def score_fingerprint(
    slide: Mapping[str, Any], prediction: Mapping[str, Any], polarity: Polarity = "auto"
) -> str:
    """Return the digest of all that a score depends on, given both manifests: stores, parameter and code."""
    return fingerprint(
        slide=slide["fingerprint"],
        prediction=prediction["fingerprint"],
        cells=prediction["cells"]["fingerprint"],
        polarity=polarity,
        code=[__version__, METRICS_VERSION],
    )
