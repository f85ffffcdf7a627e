"""Which kind of labels an image holds, as far as its values tell: questions are asked, not guessed.

The limits were set on 853 real label images with cells: there no cell has more than 9 % of the image or of
its border, and pieces per id are at most 1.02 (with a class of doubtful clumps 34 %, 18 % and 1.5).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError
from slideunet.truth.components import ConnectedComponents
from slideunet.truth.label_images import StoredIds

Kind = Literal["auto", "instances", "mask"]
Outline = Literal["cell", "nucleus"]
COVERING = 0.5
"""A value with more than this share of the image and of its border looks like background."""
STANDING_OUT, TIMES_LARGER = 0.25, 5
"""Without any pixel at 0: the same with this share, if no other value has a fifth of its pixels."""
MOST_CLASSES = 32
COMPARABLE = 0.1
"""Specks smaller than this share of the largest piece of their id are no pieces."""


class TruthKeys(TypedDict, total=False):
    """The keys of the configuration that say how labels are read; see `open_truth.open_truth`."""

    ignore_label: int | None
    background_label: int | None
    kind: Kind
    outline: Outline


@dataclass(frozen=True)
class Coded:
    """Stored ids (y, x) with 0 at background and ignored pixels; with `mask`, 1 at all others.

    A 0 that is not background takes the id of the background.
    """

    stored: StoredIds
    background: int
    ignored: int | None
    mask: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x)."""
        return self.stored.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return self.stored.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[Any]:
        """Return a region."""
        values = self.stored[index]
        off = values == self.background
        if self.mask:
            found = (~off).astype(np.uint8)
        elif self.background:
            found = values.astype(np.int64)
            found[values == 0] = self.background
            found[off] = 0
        else:
            found = values
        return found if self.ignored is None else np.where(values == self.ignored, 0, found)


@dataclass(frozen=True)
class ValueSurvey:
    """What is known of each value (n,) other than the background.

    Attributes
    ----------
    values : numpy.ndarray
        Sorted.
    areas, edges : numpy.ndarray
        Share of the image's pixels, and of the pixels on its border.
    pieces : numpy.ndarray
        Number of connected components.
    large : numpy.ndarray
        Number of those with at least `COMPARABLE` of the pixels of the largest.
    background : bool
        Whether any pixel is background (or ignored).
    """

    values: npt.NDArray[Any]
    areas: npt.NDArray[np.float64]
    edges: npt.NDArray[np.float64]
    pieces: npt.NDArray[np.int64]
    large: npt.NDArray[np.int64]
    background: bool

    def without(self, index: int) -> "ValueSurvey":
        """Return the same for the other values."""
        keep = np.arange(len(self.values)) != index
        return replace(
            self,
            values=self.values[keep],
            areas=self.areas[keep],
            edges=self.edges[keep],
            pieces=self.pieces[keep],
            large=self.large[keep],
        )


def survey_values(components: ConnectedComponents) -> ValueSurvey:
    """Sum up the components of each value."""
    values, value_of, pieces = np.unique(components.ids, return_inverse=True, return_counts=True)
    largest = np.zeros(len(values), np.int64)
    np.maximum.at(largest, value_of, components.areas)
    large = components.areas >= COMPARABLE * largest[value_of]
    height, width = components.shape
    return ValueSurvey(
        values=values,
        areas=np.bincount(value_of, components.areas) / (height * width),
        edges=np.bincount(value_of, components.edges) / (2 * (height + width)),
        pieces=pieces,
        large=np.bincount(value_of, large).astype(np.int64),
        background=components.background,
    )


def covering_value(survey: ValueSurvey) -> int | None:
    """Return the index of the value that covers the image and its border as a background does, if any."""
    top = int(survey.areas.argmax())
    seen = min(survey.areas[top], survey.edges[top])
    rest = survey.without(top).areas
    stands_out = not survey.background and len(rest) > 0 and survey.areas[top] > TIMES_LARGER * rest.max()
    return top if seen > COVERING or (stands_out and seen > STANDING_OUT) else None


def are_classes(survey: ValueSurvey) -> bool:
    """Whether several values lie in so many pieces that they cannot be one cell each."""
    if len(survey.values) < 2 or survey.large.max() < 3:
        return False
    several = survey.large > 1
    share = survey.areas[several].sum() / survey.areas.sum()
    many = survey.large.sum() >= 2 * len(survey.values) and (share > 0.5 or several.mean() >= 0.5)
    return bool(many or share > 0.9)


def check_background(path: Path, survey: ValueSurvey, keys: TruthKeys) -> None:
    """Refuse labels whose background is doubtful, unless `background_label` has settled it.

    Raises
    ------
    InputError
        No pixel is background; a value other than the background covers the image; 0 is not the background
        but occurs beside other values.
    """
    given, kind = keys.get("background_label"), keys.get("kind", "auto")
    # A background that does not occur here settles nothing, unless it is the usual 0.
    if given is None or (given and not survey.background):
        if not survey.background and len(survey.values) == 1:
            raise InputError(_without_background(path, survey, keys))
        if (top := covering_value(survey)) is not None:
            raise InputError(_covered(path, survey, top, keys))
    if given and kind == "auto" and len(survey.values) > 1 and given in survey.values:
        index = int(np.flatnonzero(survey.values == given)[0])
        raise InputError(
            f"{path}: data.background_label is {given}, but 0 occurs too, in {survey.pieces[index]} pieces "
            f"beside {len(survey.values) - 1} other values. It is unclear what 0 is. Set data.truth: mask if "
            f"all but {given} is foreground, data.truth: instances if 0 is a cell, or export labels with one "
            "background."
        )


def _without_background(path: Path, survey: ValueSurvey, keys: TruthKeys) -> str:
    given = keys.get("background_label")
    seen = (
        f"no pixel is {given or 0}, so all of them are foreground."
        if keys.get("kind") == "mask"
        else f"all pixels have the label {_stored(survey.values[0], given)}, there is no background. "
        "Inverted?"
    )
    return (
        f"{path}: {seen} Set data.background_label to the value of the background (0 if all of the image "
        "really is foreground), or export it again with 0 as background."
    )


def _covered(path: Path, survey: ValueSurvey, top: int, keys: TruthKeys) -> str:
    given, rest = keys.get("background_label"), survey.without(top)
    if keys.get("kind") == "mask":
        seen, fix = f"what is not {given or 0}", "the value of the background, if that is another"
    else:
        value = _stored(survey.values[top], given)
        seen, fix = f"the value {value}", f"{value} if that is the background"
    missing = " and no pixel is 0" if not survey.background and not given else ""
    absent = f" data.background_label {given} does not occur." if given else ""
    # The background of this image may be settled, and the question after it be answered at once.
    more = (
        f" The {len(rest.values)} other values lie in {rest.pieces.sum()} pieces: set data.truth: mask, too, "
        "if they are not one id per cell."
        if len(rest.values) and (rest.large.max() > 2 or are_classes(rest))
        else ""
    )
    return (
        f"{path}: {seen} covers {survey.areas[top]:.0%} of the image and {survey.edges[top]:.0%} of its "
        f"border{missing}, as a background does.{absent} Set data.background_label to {fix}, or to 0 if "
        f"0 is the background and this is a cell.{more}"
    )


def _stored(value: int, background: int | None) -> int:
    """Return the value in the file: `Coded` gives 0 the id of another background."""
    return 0 if background and value == background else int(value)


def check_instances(path: Path, survey: ValueSurvey) -> None:
    """Refuse class maps, soft edges and stray values that would be taken as ids of cells.

    Raises
    ------
    InputError
        Several values lie in many pieces.
    """
    if not are_classes(survey):
        return
    top = int(survey.areas.argmax())
    rest = survey.without(top)
    size = survey.areas[top] / survey.pieces[top], rest.areas.sum() / rest.pieces.sum()
    main = survey.areas[top] > rest.areas.sum() and size[1] < COMPARABLE * size[0]
    if main or len(survey.values) > MOST_CLASSES:
        seen = (
            f"the value {survey.values[top]} has {survey.areas[top] / survey.areas.sum():.0%} of the "
            f"foreground, in {survey.pieces[top]} pieces, and {len(rest.values)} other values lie in "
            f"{rest.pieces.sum()} others. That is a mask with soft edges or stray values"
        )
    else:
        listed = ", ".join(map(str, survey.values[:5])) + (", ..." if len(survey.values) > 5 else "")
        seen = (
            f"{len(survey.values)} values ({listed}) lie in {survey.pieces.sum()} pieces. These are classes "
            "(such as nucleus and border), not ids of cells"
        )
    raise InputError(
        f"{path}: {seen}. Export one id per cell. Or set data.truth: mask to take all but the background as "
        "foreground (touching cells become one; for soft edges export a threshold instead), data.truth: "
        "instances to take the values as ids all the same, data.ignore_label if one means not annotated."
    )
