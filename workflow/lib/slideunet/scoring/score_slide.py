"""Score one slide, block by block, from anything that can be sliced like an array."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideunet.cells.separation.separate import foreground_cut
from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.pixels import Pixels
from slideunet.scoring.error_examples import Example, draw, find_examples
from slideunet.scoring.external_grouping import Deal, in_memory
from slideunet.scoring.instance_metrics import InstanceCounts, count_instances
from slideunet.scoring.matching import match
from slideunet.scoring.otsu_baseline import Polarity, cells_are_dark, foreground, grey, otsu_threshold
from slideunet.scoring.overlaps import Rows, count_overlaps
from slideunet.scoring.pixel_metrics import PixelCounts, count_pixels
from slideunet.truth.ignore_label import foreground_and_valid

METRICS_VERSION = "3"
"""Part of every score's fingerprint: raise it when a definition changes."""


@dataclass(frozen=True)
class Score:
    """The counts of one slide.

    Attributes
    ----------
    pixel : PixelCounts
        Foreground is what the user gets: the pixels that belong to a cell.
    semantic : PixelCounts
        Foreground is the thresholded probability, before cells are separated and small ones removed.
    otsu : PixelCounts
        Foreground is one global Otsu threshold on the same image.
    instances : InstanceCounts
        Cells against true objects.
    """

    pixel: PixelCounts
    semantic: PixelCounts
    otsu: PixelCounts
    instances: InstanceCounts

    @property
    def empty(self) -> bool:
        """Whether neither truth nor prediction has a foreground pixel."""
        return self.pixel.empty

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.pixel + other.pixel,
            self.semantic + other.semantic,
            self.otsu + other.otsu,
            self.instances + other.instances,
        )

    def values(self) -> dict[str, float]:
        """The metrics, by the names used in metrics.csv."""
        cells = self.instances
        return {
            **{
                name: getattr(self.pixel, name) for name in ("accuracy", "precision", "recall", "dice", "iou")
            },
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
    deal: Deal = in_memory,
) -> tuple[Score, list[Example]]:
    """Compare a prediction with the truth, holding one block, or a part of the overlaps, at a time.

    Parameters
    ----------
    image : Pixels, (c, y, x)
        The slide on the working grid, for the Otsu baseline.
    truth, cells : Pixels of integers, (y, x)
        Labels, 0 = background; in the truth `IGNORE_LABEL` where nothing is counted.
    probability : Pixels of uint8, (1, y, x)
        Foreground probability times 255.
    threshold : float
        The probability from which a pixel was taken as foreground, in [0, 1].
    polarity : {"auto", "bright", "dark"}
        Which class of the Otsu baseline is the cells; see `baseline.cells_are_dark`.
    deal : callable
        How the overlaps of all blocks are brought together, see `dealing`; `in_memory` holds all of them.

    Returns
    -------
    Score
    list of Example
        Some errors of each kind.
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
    instances, examples = compare_instances(tables, width, deal)
    return Score(pixel, semantic, otsu, instances), examples


def compare_instances(
    tables: Iterable[Rows], width: int, deal: Deal = in_memory
) -> tuple[InstanceCounts, list[Example]]:
    """Count the instances of a slide of this width, and draw examples, from the overlaps of its blocks."""
    counts = InstanceCounts()
    examples: list[Example] = []
    for matched in match(tables, deal):
        counts += count_instances(matched)
        examples = draw([*examples, *find_examples(matched, width)])
    return counts, examples


def _otsu(image: Pixels, polarity: Polarity) -> tuple[float, bool]:
    extremes = [(block.min(), block.max()) for block in _grey_blocks(image)]
    low, high = (float(f(values)) for f, values in zip((min, max), zip(*extremes, strict=True), strict=True))
    threshold, bright = otsu_threshold(_grey_blocks(image), low, high)
    # A constant image has no second class: its baseline finds nothing.
    return threshold, high > low and cells_are_dark(bright, polarity)


def _grey_blocks(image: Pixels) -> Iterator[NDArray[np.float64]]:
    return (grey(image[..., *region]) for region in BlockGrid(image.shape))
