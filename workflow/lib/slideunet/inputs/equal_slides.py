"""Slides with equal pixels: which of them stop a run, and which are only worth a warning.

Equal pixels are an error on different sides of the split, where they leak training data into the test, and
under different ground truth, one of which is wrong. Anything else is a warning: slides that are only
predicted, slides that count twice on one side of the split, and empty fields, whose pixels are often equal.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.geometry.pixels import Pixels
from slideunet.inputs.split import SPLITS, listed
from slideunet.truth.ignore_label import IGNORE_LABEL


@dataclass(frozen=True)
class SlideContent:
    """What decides whether slides are equal.

    Attributes
    ----------
    slide : str
    content : str
        Sha256 of the decoded pixels (`slides.statistics.content`); "" when they were not read.
    split : str
        "train", "val", "test", "predict", or "" when it is not known yet.
    blank : bool
        Whether every channel has one value only, as in an empty field.
    labels : str
        Path of the ground truth; "" without.
    truth : str
        `cells_digest` of the ground truth; "" when it was not read.
    n_cells : int or None
        Cells of the ground truth.
    """

    slide: str
    content: str
    split: str = ""
    blank: bool = False
    labels: str = ""
    truth: str = ""
    n_cells: int | None = None


def equal_problems(slides: Iterable[SlideContent]) -> list[tuple[list[str], str]]:
    """Return (slides, error) for equal pixels on different sides of the split or under different truth."""
    return [
        ([slide.slide for slide in equal], problem)
        for equal in _equal(slides)
        for problem in (*_different_truths(equal), *_different_sides(equal))
    ]


def equal_warnings(slides: Iterable[SlideContent]) -> list[tuple[str, str]]:
    """Return (slide, warning) for the first of all slides with the same pixels."""
    return [(equal[0].slide, _warning(equal)) for equal in _equal(slides)]


def is_blank(statistics: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether every channel has one value only, by `slides.statistics.pooled`."""
    channels = list(statistics)
    return bool(channels) and all(channel["min"] == channel["max"] for channel in channels)


def cells_digest(labels: Pixels) -> str:
    """Return a digest (sha256) of the cells of a label image (y, x), whatever the order of their ids.

    Ids are numbered anew by their first pixel in every block; background and ignored pixels stay.
    """
    blocks = (digest(_numbered(np.asarray(labels[region]))) for region in BlockGrid(labels.shape))
    return hashlib.sha256(f"{list(labels.shape)} {' '.join(blocks)}".encode()).hexdigest()


def _numbered(labels: np.ndarray) -> npt.NDArray[np.uint32]:
    codes, values = pd.factorize(labels.ravel())
    ids = np.arange(1, len(values) + 1, dtype=np.uint32)
    for kept in (0, IGNORE_LABEL):
        ids[values == kept] = kept
    return ids[codes]


def _equal(slides: Iterable[SlideContent]) -> list[list[SlideContent]]:
    """Return all slides that share their pixels with others, one list for each content."""
    same: dict[str, list[SlideContent]] = defaultdict(list)
    for slide in slides:
        if slide.content:
            same[slide.content].append(slide)
    return [equal for equal in same.values() if len(equal) > 1]


def _different_truths(equal: Sequence[SlideContent]) -> list[str]:
    # A slide that is only predicted teaches and tests nothing, whatever its ground truth.
    firsts = {slide.truth: slide for slide in reversed(equal) if slide.truth and slide.split != "predict"}
    if len(firsts) < 2:
        return []
    truths = listed(f"{one.slide} ({one.labels}, {one.n_cells} cells)" for one in firsts.values())
    return [
        f"slides {truths} have identical pixels (sha256 {equal[0].content[:12]}) but different ground truth. "
        "Only one can be right. Keep one of them, or write 'predict' into the column split of the others."
    ]


def _different_sides(equal: Sequence[SlideContent]) -> list[str]:
    on_a_side = [slide for slide in equal if slide.split in SPLITS]
    if len({slide.split for slide in on_a_side}) < 2 or equal[0].blank:
        return []
    sides = listed(f"{slide.slide} ({slide.split})" for slide in on_a_side)
    return [
        f"slides {sides} have identical pixels (sha256 {equal[0].content[:12]}) on different sides of the "
        "split. The scores would be of pixels that the model has seen. Keep one of them, or give them the "
        "same group (and split)."
    ]


def _warning(equal: Sequence[SlideContent]) -> str:
    others = listed(slide.slide for slide in equal[1:])
    sides = [slide.split for slide in equal if slide.split in SPLITS]
    if equal[0].blank:
        return f"is empty (each channel has one value only), with the same pixels as {others}"
    twice = f"; they count {len(sides)} times in the split '{sides[0]}'" if len(sides) > 1 else ""
    return f"has the same pixels as {others}{twice}"
