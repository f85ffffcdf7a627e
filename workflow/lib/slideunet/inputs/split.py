"""Splitting labelled slides into training, validation and test, by whole groups.

A group (a patient, an animal, a plate) must not be in two splits. Groups are sorted by a hash of their name
and the seed; the first ones of each stratum are the test split, the next ones validation. Hence the split
does not depend on the order of the sheet or on unlabelled slides, and an added labelled group moves only
groups next to the two borders in that order: mostly none, rarely more than one at each border.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from slideunet.errors import InputError

SPLITS = ("train", "val", "test")
COLUMNS = ["slide", "group", "stratum", "split", "n_objects", "content"]


@dataclass(frozen=True)
class Group:
    """The labelled slides of one group: their number, stratum and given split (None: to be assigned)."""

    name: str
    size: int
    stratum: str
    split: str | None


def split_groups(
    table: pd.DataFrame, *, val: float, test: float, seed: int, training: bool = True
) -> pd.DataFrame:
    """Assign every slide to a split.

    The fractions apply to slides, not groups. A group's stratum is that of most of its slides. Slides with a
    given split count towards the fractions, and their whole group gets the same split.

    Parameters
    ----------
    table : pandas.DataFrame
        slide, group, stratum, split ("" = to be assigned), labelled (bool), n_objects (may be unknown),
        content (sha256 of the pixels, or "").
    val, test : float
        Fractions of the labelled slides, below 1 together.
    seed : int
    training : bool
        False with a trained model: labelled slides without a given split are then all test slides.

    Returns
    -------
    pandas.DataFrame
        slide, group, stratum, split, n_objects, content, sorted by slide. Unlabelled ones are "predict".

    Raises
    ------
    InputError
        For a group in two splits, too few groups, or a training or validation split without cells.
    """
    table = table.sort_values("slide", ignore_index=True)
    labelled = table[table["labelled"].astype(bool) & (table["split"] != "predict")]
    if problems := _leaking(labelled):
        raise InputError(problems)
    groups = _groups(labelled)
    splits = (
        _assign(groups, val, test, seed)
        if training
        else {group.name: group.split or "test" for group in groups}
    )
    result = table.assign(split="predict")
    result.loc[labelled.index, "split"] = labelled["group"].map(splits)
    if training and (empty := _splits_without_cells(result)):
        raise InputError(empty)
    return result[COLUMNS]


def split_sheet(sheet: pd.DataFrame, *, val: float, test: float, seed: int, training: bool) -> dict[str, str]:
    """Return the split of every slide as far as the sheet alone decides it, before anything is read.

    It is final unless a model has seen some of the slides (`seen_slides.mark_seen`). Values of the column
    that are no split count as empty. Raises as `split_groups`.
    """
    known = sheet["split"].where(sheet["split"].isin([*SPLITS, "predict"]), "")
    unread = sheet.assign(split=known, labelled=sheet["labels"] != "", n_objects=None, content="")
    split = split_groups(unread, val=val, test=test, seed=seed, training=training)
    return dict(zip(split["slide"], split["split"], strict=True))


def _leaking(labelled: pd.DataFrame) -> list[str]:
    given = labelled[labelled["split"] != ""].sort_values(["group", "slide"])
    problems = []
    for group, rows in given.groupby("group", sort=True):
        firsts = rows.drop_duplicates("split")
        if len(firsts) > 1:
            splits = " and ".join(f"slide {slide} is in {split}" for slide, split in _pairs(firsts))
            problems.append(
                f"group {group!s}: {splits}. A group in two splits leaks training data into the test. "
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
            split=next((split for split in rows["split"] if split), None),
        )
        for name, rows in labelled.groupby("group", sort=True)
    ]


def _assign(groups: list[Group], val: float, test: float, seed: int) -> dict[str, str]:
    _check_enough(groups, val, test)
    splits = {group.name: group.split for group in groups if group.split}
    free = sorted((group for group in groups if not group.split), key=lambda group: _rank(group.name, seed))
    slides = Counter[str]()
    for group in groups:
        slides[group.stratum] += group.size
    for split, fraction, later in (("test", test, ("val", "train")), ("val", val, ("train",))):
        spare = len(free) - sum(_needed(groups, name, val) for name in later)
        deficits = _deficits(groups, split, fraction, slides)
        taken = _take(free, deficits, _needed(groups, split, fraction), spare)
        splits |= dict.fromkeys((group.name for group in taken), split)
        free = [group for group in free if group not in taken]
    return splits | dict.fromkeys((group.name for group in free), "train")


def _take(free: list[Group], deficits: dict[str, float], least: int, spare: int) -> list[Group]:
    """Take groups from the stratum with the largest deficit, while the total approaches the target."""
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
    groups: Iterable[Group], split: str, fraction: float, slides: Mapping[str, int]
) -> dict[str, float]:
    deficits = {stratum: fraction * count for stratum, count in slides.items()}
    for group in groups:
        if group.split == split:
            deficits[group.stratum] -= group.size
    return deficits


def _needed(groups: Iterable[Group], split: str, fraction: float) -> int:
    """Return the minimum of free groups for a split: 0 if one is given or its fraction is 0, else 1."""
    given = any(group.split == split for group in groups)
    return 0 if given or (split != "train" and fraction == 0) else 1


def _check_enough(groups: list[Group], val: float, test: float) -> None:
    if val == 0 and not any(group.split == "val" for group in groups):
        raise InputError(
            "split.val is 0 and no slide has the split 'val'. Training needs validation slides to select the "
            "best epoch and to tune the threshold. Set split.val above 0 or mark slides with 'val'."
        )
    fractions = zip(SPLITS, (1.0, val, test), strict=True)
    lacking = [split for split, fraction in fractions if _needed(groups, split, fraction)]
    free = sum(group.split is None for group in groups)
    if free < len(lacking):
        raise InputError(
            f"there are {len(groups)} groups of labelled slides, {free} of them without a given split, "
            f"but {', '.join(lacking)} still need one group each ({len(lacking)} in all). A group is "
            "never split. Add labelled slides of other groups, or set split.test to 0 to do without a "
            "test."
        )


def _splits_without_cells(result: pd.DataFrame) -> list[str]:
    problems = []
    for split in ("train", "val"):
        rows = result[result["split"] == split]
        if pd.to_numeric(rows["n_objects"], errors="coerce").eq(0).all():
            problems.append(
                f"the '{split}' split ({len(rows)} slides: {listed(rows['slide'])}) contains no cells. "
                "Nothing can be learned or tuned there. Choose another split.seed, or give the split in "
                "the sheet."
            )
    return problems


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()


def listed(names: Iterable[str], most: int = 10) -> str:
    """Return sorted names in words, at most `most` of them and the number of the others."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
