"""Scores of one slide, computed block by block from anything that can be sliced like an array."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideunet.cells.separation.separate import foreground_cut
from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.pixels import Pixels
from slideunet.scoring.error_examples import Example, find_examples, sample
from slideunet.scoring.external_grouping import Regroup, in_memory
from slideunet.scoring.instance_metrics import InstanceCounts, count_instances
from slideunet.scoring.matching import match
from slideunet.scoring.otsu_baseline import Polarity, cells_are_dark, foreground, grey, otsu_threshold
from slideunet.scoring.overlaps import Rows, count_overlaps
from slideunet.scoring.pixel_metrics import PixelCounts, count_pixels
from slideunet.truth.ignore_label import foreground_and_valid

METRICS_VERSION = "3"
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
    """

    pixel: PixelCounts
    semantic: PixelCounts
    otsu: PixelCounts
    instances: InstanceCounts

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
            "values": self.values(),
            "empty": self.empty,
        }

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Score":
        """Read the counts that `to_json` wrote."""
        return Score(
            pixel=PixelCounts(**content["pixel"]),
            semantic=PixelCounts(**content["semantic"]),
            otsu=PixelCounts(**content["otsu"]),
            instances=InstanceCounts.from_json(content["instances"]),
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
    pixel, semantic, otsu = PixelCounts(), PixelCounts(), PixelCounts()
    for region in BlockGrid(truth.shape):
        true, valid = foreground_and_valid(truth[region])
        true = true[valid]
        pixel += count_pixels(true, cells[region][valid] > 0)
        semantic += count_pixels(true, probability[(0, *region)][valid] >= foreground_cut(threshold))
        otsu += count_pixels(true, foreground(grey(image[(..., *region)])[valid], cut, dark=dark))
    width = truth.shape[1]
    tables = (
        count_overlaps(truth[rows, columns], cells[rows, columns], (rows.start, columns.start), width)
        for rows, columns in BlockGrid(truth.shape)
    )
    instances, examples = compare_instances(tables, width, regroup)
    return Score(pixel, semantic, otsu, instances), examples


def compare_instances(
    tables: Iterable[Rows], width: int, regroup: Regroup = in_memory
) -> tuple[InstanceCounts, list[Example]]:
    """Count instances and sample errors of a slide of this width, from the overlaps of its blocks."""
    counts = InstanceCounts()
    examples: list[Example] = []
    for rows in match(tables, regroup):
        counts += count_instances(rows)
        examples = sample([*examples, *find_examples(rows, width)])
    return counts, examples


def _otsu(image: Pixels, polarity: Polarity) -> tuple[float, bool]:
    lows, highs = zip(*((block.min(), block.max()) for block in _grey_blocks(image)), strict=True)
    low, high = float(min(lows)), float(max(highs))
    threshold, bright = otsu_threshold(_grey_blocks(image), low, high)
    # A constant image has no second class: its foreground is empty.
    return threshold, high > low and cells_are_dark(bright, polarity)


def _grey_blocks(image: Pixels) -> Iterator[NDArray[np.float64]]:
    return (grey(image[(..., *region)]) for region in BlockGrid(image.shape))
