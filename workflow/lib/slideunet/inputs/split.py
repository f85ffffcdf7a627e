"""Dividing labelled slides into training, validation and test, never dividing a group.

A group is what must not be on two sides: a patient, an animal, a plate. Groups are put in an order that
depends only on their name and the seed; the first ones of each stratum are taken for the test, the next ones
for validation. So the sides do not depend on the order of the sheet or on unlabelled slides, and one labelled
group more moves only groups next to the two borders in that order: most often none, seldom more than one
on each side.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from slideunet.errors import InputError

SIDES = ("train", "val", "test")
COLUMNS = ["slide", "group", "stratum", "split", "n_objects", "content"]


@dataclass(frozen=True)
class Group:
    """The labelled slides of one group: how many, of which stratum, on which side (None: still free)."""

    name: str
    size: int
    stratum: str
    side: str | None


def split_groups(
    table: pd.DataFrame, *, val: float, test: float, seed: int, training: bool = True
) -> pd.DataFrame:
    """Put every slide on a side.

    The numbers of slides, not of groups, follow the shares. A group's stratum is that of most of its slides.
    Slides whose side is given count towards the shares and take their group with them.

    Parameters
    ----------
    table : pandas.DataFrame
        slide, group, stratum, split ("" = to be assigned), labelled (bool), n_objects (may be unknown),
        content (sha256 of the pixels, or "").
    val, test : float
        Shares of the labelled slides, below 1 together.
    seed : int
        Another seed, another division.
    training : bool
        False when a trained model is given: labelled slides without a side are then all for the test.

    Returns
    -------
    pandas.DataFrame
        slide, group, stratum, split, n_objects, content, sorted by slide. Unlabelled ones are "predict".

    Raises
    ------
    InputError
        Identical pixels under two ids, a group given on two sides, too few groups, or a training or
        validation side without one cell.
    """
    table = table.sort_values("slide", ignore_index=True)
    labelled = table[table["labelled"].astype(bool) & (table["split"] != "predict")]
    problems = [*_identical(table), *_divided(labelled)]
    if problems:
        raise InputError(problems)
    groups = _groups(labelled)
    sides = (
        _assign(groups, val, test, seed)
        if training
        else {group.name: group.side or "test" for group in groups}
    )
    result = table.assign(split="predict")
    result.loc[labelled.index, "split"] = labelled["group"].map(sides)
    if training and (empty := _sides_without_cells(result)):
        raise InputError(empty)
    return result[COLUMNS]


def _identical(table: pd.DataFrame) -> list[str]:
    same: dict[str, list[str]] = defaultdict(list)
    for slide, content in zip(table["slide"], table["content"], strict=True):
        same[content].append(slide)
    return [
        f"slides {_listed(slides)} have identical pixels (sha256 {content[:12]}). One image on two sides "
        "would make the test meaningless. Keep one of them."
        for content, slides in sorted(same.items())
        if content and len(slides) > 1
    ]


def _divided(labelled: pd.DataFrame) -> list[str]:
    given = labelled[labelled["split"] != ""].sort_values(["group", "slide"])
    problems = []
    for group, rows in given.groupby("group", sort=True):
        firsts = rows.drop_duplicates("split")
        if len(firsts) > 1:
            sides = " and ".join(f"slide {slide} is in {side}" for slide, side in _pairs(firsts))
            problems.append(
                f"group {group!s}: {sides}. A group on two sides lets the test see what was trained on. "
                "Give all its slides the same split."
            )
    return problems


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["slide"], rows["split"], strict=True))


def _groups(labelled: pd.DataFrame) -> list[Group]:
    return [
        Group(
            name=str(name),
            size=len(rows),
            stratum=min(Counter(rows["stratum"]).items(), key=lambda item: (-item[1], item[0]))[0],
            side=next((side for side in rows["split"] if side), None),
        )
        for name, rows in labelled.groupby("group", sort=True)
    ]


def _assign(groups: list[Group], val: float, test: float, seed: int) -> dict[str, str]:
    _check_enough(groups, val, test)
    sides = {group.name: group.side for group in groups if group.side}
    free = sorted((group for group in groups if not group.side), key=lambda group: _rank(group.name, seed))
    slides = Counter[str]()
    for group in groups:
        slides[group.stratum] += group.size
    for side, share, later in (("test", test, ("val", "train")), ("val", val, ("train",))):
        spare = len(free) - sum(_wanted(groups, name, val) for name in later)
        taken = _take(free, _deficits(groups, side, share, slides), _wanted(groups, side, share), spare)
        sides |= dict.fromkeys((group.name for group in taken), side)
        free = [group for group in free if group not in taken]
    return sides | dict.fromkeys((group.name for group in free), "train")


def _take(free: list[Group], deficits: dict[str, float], least: int, spare: int) -> list[Group]:
    """Take groups, always for the stratum that lacks most, while the total comes nearer to the target."""
    taken: list[Group] = []
    waiting = list(free)
    while waiting and len(taken) < spare:
        missing = sum(deficits.values())
        fitting = [group for group in waiting if group.size <= 2 * missing]
        if not fitting and len(taken) < least:
            fitting = [min(waiting, key=lambda group: group.size)]
        if not fitting:
            break
        stratum = max({group.stratum for group in fitting}, key=lambda name: (deficits[name], name))
        group = next(group for group in fitting if group.stratum == stratum)
        deficits[stratum] -= group.size
        waiting.remove(group)
        taken.append(group)
    return taken


def _deficits(
    groups: Iterable[Group], side: str, share: float, slides: Mapping[str, int]
) -> dict[str, float]:
    deficits = {stratum: share * count for stratum, count in slides.items()}
    for group in groups:
        if group.side == side:
            deficits[group.stratum] -= group.size
    return deficits


def _wanted(groups: Iterable[Group], side: str, share: float) -> int:
    """Return how many free groups a side needs: one, or none when one is given or its share is 0."""
    present = any(group.side == side for group in groups)
    return 0 if present or (side != "train" and share == 0) else 1


def _check_enough(groups: list[Group], val: float, test: float) -> None:
    if val == 0 and not any(group.side == "val" for group in groups):
        raise InputError(
            "split.val is 0 and no slide has the split 'val'. Training needs validation to choose its "
            "best epoch and the threshold. Set split.val above 0 or mark slides with 'val'."
        )
    lacking = [
        side for side, share in zip(SIDES, (1.0, val, test), strict=True) if _wanted(groups, side, share)
    ]
    free = sum(group.side is None for group in groups)
    if free < len(lacking):
        raise InputError(
            f"there are {len(groups)} groups of labelled slides, {free} of them without a given split, "
            f"but {', '.join(lacking)} still need one group each ({len(lacking)} in all). A group is "
            "never divided. Add labelled slides of other groups, or set split.test to 0 to do without a "
            "test."
        )


def _sides_without_cells(result: pd.DataFrame) -> list[str]:
    problems = []
    for side in ("train", "val"):
        rows = result[result["split"] == side]
        if pd.to_numeric(rows["n_objects"], errors="coerce").eq(0).all():
            problems.append(
                f"the side '{side}' has {len(rows)} slides ({_listed(rows['slide'])}) without a cell. "
                "Nothing can be learned or tuned there. Choose another split.seed, or give the split in "
                "the sheet."
            )
    return problems


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()


def _listed(slides: Iterable[str], most: int = 10) -> str:
    names = sorted(slides)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
