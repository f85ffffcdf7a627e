"""Checking every image and its labels before any heavy work, with all problems in one report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import dask
import numpy as np
import pandas as pd

from slideunet.errors import SlideunetError
from slideunet.readers.open_source import Source, choose_channels, open_image
from slideunet.readers.working_resolution import open_at
from slideunet.truth.kinds_of_labels import TruthKeys
from slideunet.truth.open_truth import open_truth

HEADER_ONLY = 64 * 1024**2
"""Number of pixels above which only the header of an image is checked; the conversion checks the rest."""

Channels = str | list[int] | None


@dataclass(frozen=True)
class SlideCheck:
    """The result of checking one slide.

    Attributes
    ----------
    slide : str
    problems, warnings : tuple[str, ...]
        Without the slide's id.
    shape : tuple[int, int, int] or None
        (c, y, x) after the choice of channels; None when the image cannot be opened.
    dtype : str
    mpp : float or None
        Micrometres per pixel, the sheet's before the file's.
    has_cells : bool or None
        None when there are no labels or they were not read.
    """

    slide: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    shape: tuple[int, int, int] | None = None
    dtype: str = ""
    mpp: float | None = None
    has_cells: bool | None = None


def check_slide(
    row: Mapping[str, str], channels: Channels, mpp: float | None = None, **truth_keys: Unpack[TruthKeys]
) -> SlideCheck:
    """Open one slide; below 64 Mpx read all of its pixels and labels.

    Parameters
    ----------
    row : mapping
        slide, image, labels and mpp of the sheet.
    channels : None, "grey", "rgb" or list of int
        As in the configuration.
    mpp : float, optional
        Micrometres per pixel of the working grid.
    **truth_keys
        How labels are read; see `open_truth.open_truth`.
    """
    sheet_mpp = float(row["mpp"]) if row.get("mpp") else None
    try:
        # Only checks the working resolution; the pixels are read and compared at full resolution.
        working, _ = open_at(Path(row["image"]), own_mpp=sheet_mpp, working_mpp=mpp)
        opened = replace(open_image(Path(row["image"])), warnings=working.warnings)
        source = choose_channels(opened, channels)
    except SlideunetError as error:
        return SlideCheck(row["slide"], problems=error.problems)
    cyx = source.pixels.shape
    check = SlideCheck(
        slide=row["slide"],
        shape=cyx,
        dtype=str(source.pixels.dtype),
        mpp=sheet_mpp or source.mpp,
        warnings=source.warnings,
    )
    if cyx[-2] * cyx[-1] > HEADER_ONLY:
        return check
    problems: list[str] = []
    try:
        check = replace(check, warnings=check.warnings + _read_all(source, Path(row["image"])))
    except SlideunetError as error:
        problems += error.problems
    try:
        if row.get("labels"):
            truth = open_truth(Path(row["labels"]), cyx[-2:], mpp=check.mpp, **truth_keys)
            check = replace(check, warnings=check.warnings + truth.warnings, has_cells=truth.count > 0)
    except SlideunetError as error:
        problems += error.problems
    return replace(check, problems=tuple(problems))


def check_slides(
    sheet: pd.DataFrame,
    channels: Channels,
    mpp: float | None,
    threads: int,
    **truth_keys: Unpack[TruthKeys],
) -> list[SlideCheck]:
    """Check all slides of a sheet in parallel threads, as `check_slide`, in the order of the sheet."""
    rows = [{str(name): value for name, value in row.items()} for row in sheet.to_dict("records")]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda row: check_slide(row, channels, mpp, **truth_keys), rows))


def cohort_problems(checks: Sequence[SlideCheck], expected: int | None = None) -> list[str]:
    """Find inconsistencies between slides.

    Parameters
    ----------
    checks : sequence of SlideCheck
    expected : int, optional
        Channels of the given model; by default the number that most slides have.
    """
    problems = _odd_channels(checks, expected)
    labelled = [check for check in checks if check.has_cells is not None]
    if labelled and not any(check.has_cells for check in labelled) and not _unread(checks):
        problems.append(
            f"all {len(labelled)} label images contain no cells (first: slide {labelled[0].slide}). "
            "Nothing can be learned from background alone. Check that the labels were exported, not an "
            "empty layer."
        )
    return problems


def cohort_warnings(checks: Sequence[SlideCheck]) -> list[str]:
    """Return a warning when the slides have different data types."""
    dtypes = Counter(check.dtype for check in checks if check.dtype)
    if len(dtypes) < 2:
        return []
    counted = ", ".join(f"{count} {dtype}" for dtype, count in dtypes.most_common())
    return [
        f"the slides have different data types ({counted}). Each is normalised by itself, so this can be "
        "right."
    ]


def check_table(
    checks: Sequence[SlideCheck], sheet: pd.DataFrame, batch_of: Mapping[str, str]
) -> pd.DataFrame:
    """Return one row per slide: slide, batch, height, width, channels, dtype, mpp, labelled, warnings."""
    labels: dict[str, str] = dict(zip(sheet["slide"], sheet["labels"], strict=True))
    rows = [
        (check.slide, batch_of[check.slide], *check.shape[1:], check.shape[0], check.dtype, check.mpp,
         bool(labels[check.slide]), " ".join(check.warnings))
        for check in checks
        if check.shape
    ]  # fmt: skip
    names = ["slide", "batch", "height", "width", "channels", "dtype", "mpp", "labelled", "warnings"]
    return pd.DataFrame(rows, columns=names)


def _read_all(source: Source, path: Path) -> tuple[str, ...]:
    """Decode all pixels and return warnings; raises InputError for damage, NaN and infinity."""
    low, high = dask.compute(source.pixels.min(), source.pixels.max(), scheduler="synchronous")
    if low == high:
        return (f"all pixels of {path.name} have the value {low:g}, so the image shows nothing.",)
    return ()


def _unread(checks: Sequence[SlideCheck]) -> bool:
    """Return whether labels were not read that may contain cells: those of large or faulty slides."""
    return any(check.problems or (check.shape and np.prod(check.shape[1:]) > HEADER_ONLY) for check in checks)


def _odd_channels(checks: Sequence[SlideCheck], expected: int | None) -> list[str]:
    opened = [(check, check.shape[0]) for check in checks if check.shape]
    counts = Counter(count for _, count in opened)
    if not counts:
        return []
    usual = expected or counts.most_common(1)[0][0]
    why = f"the model needs {usual}" if expected else f"{counts[usual]} of {len(opened)} slides have {usual}"
    return [
        f"slide {check.slide}: has {count} channels but {why}. A network needs the same channels "
        "everywhere. Set data.channels to grey, rgb or a list such as [0], or remove the slide from the "
        "sheet."
        for check, count in opened
        if count != usual
    ]
