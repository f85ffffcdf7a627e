"""Score one slide, row block by row block, from anything that can be sliced like an array."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from slideunet.cells.separation import foreground_cut
from slideunet.images.pixels import Pixels
from slideunet.scoring.baseline import Polarity, cells_are_dark, foreground, grey, otsu_threshold
from slideunet.scoring.instances import InstanceCounts, count_instances
from slideunet.scoring.overlaps import Overlaps, add_overlaps, count_overlaps
from slideunet.scoring.pixels import PixelCounts, count_pixels

METRICS_VERSION = "1"
"""Part of every score's fingerprint: raise it when a definition changes."""

ROWS = 1024


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
    rows: int = ROWS,
) -> Score:
    """Compare a prediction with the truth; memory grows with `rows` and the number of objects only.

    Parameters
    ----------
    image : array or zarr.Array, (c, y, x)
        The slide on the working grid, for the Otsu baseline.
    truth, cells : array or zarr.Array of integers, (y, x)
        Labels, 0 = background.
    probability : array or zarr.Array of uint8, (1, y, x)
        Foreground probability times 255.
    threshold : float
        The probability from which a pixel was taken as foreground, in [0, 1].
    polarity : {"auto", "bright", "dark"}
        Which class of the Otsu baseline is the cells; see `baseline.cells_are_dark`.
    rows : int
        Rows in memory at a time; the result does not depend on it.
    """
    cut, dark = _otsu(image, polarity, rows)
    pixel, semantic, otsu = PixelCounts(), PixelCounts(), PixelCounts()
    for block in row_blocks(truth.shape[0], rows):
        true, cell = truth[block] > 0, cells[block] > 0
        pixel += count_pixels(true, cell)
        semantic += count_pixels(true, probability[0, block] >= foreground_cut(threshold))
        otsu += count_pixels(true, foreground(grey(image[:, block]), cut, dark=dark))
    return Score(pixel, semantic, otsu, count_instances(slide_overlaps(truth, cells, rows)))


def slide_overlaps(truth: Pixels, cells: Pixels, rows: int = ROWS) -> Overlaps:
    """Build the overlap table of a slide from row blocks of two (y, x) label arrays."""
    blocks = row_blocks(truth.shape[0], rows)
    return add_overlaps(count_overlaps(truth[block], cells[block]) for block in blocks)


def row_blocks(height: int, rows: int = ROWS) -> Iterator[slice]:
    """Cut [0, height) into slices of at most `rows` rows."""
    return (slice(start, min(start + rows, height)) for start in range(0, height, rows))


def _otsu(image: Pixels, polarity: Polarity, rows: int) -> tuple[float, bool]:
    blocks = list(row_blocks(image.shape[1], rows))
    low = min((float(grey(image[:, block]).min()) for block in blocks), default=0.0)
    high = max((float(grey(image[:, block]).max()) for block in blocks), default=0.0)
    threshold, bright = otsu_threshold((grey(image[:, block]) for block in blocks), low, high)
    # A constant image has no second class: its baseline finds nothing.
    return threshold, high > low and cells_are_dark(bright, polarity)
