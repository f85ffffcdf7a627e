"""Checking every image and its labels before any heavy work, with all problems in one report."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd

from slideunet.errors import SlideunetError, collected
from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.inputs.equal_slides import SlideContent, cells_digest
from slideunet.readers.open_source import Source, choose_channels, open_image
from slideunet.readers.working_resolution import open_at
from slideunet.slides.statistics import content
from slideunet.truth.kinds_of_labels import TruthKeys
from slideunet.truth.open_truth import Truth, open_truth

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
    content, truth : str
        Digests of pixels and cells (`equal_slides.SlideContent`); "" when they were not read.
    blank : bool
        Whether every channel has one value only.
    n_cells : int or None
        None when there are no labels or they were not read.
    """

    slide: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    shape: tuple[int, int, int] | None = None
    dtype: str = ""
    mpp: float | None = None
    content: str = ""
    truth: str = ""
    blank: bool = False
    n_cells: int | None = None


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
    image, own_mpp = Path(row["image"]), float(row["mpp"]) if row.get("mpp") else None
    problems: list[str] = []
    warnings: tuple[str, ...] = ()
    with collected(problems, SlideunetError):
        # Only checks the working resolution; the pixels are read and compared at full resolution.
        warnings = open_at(image, own_mpp=own_mpp, working_mpp=mpp)[0].warnings
    try:
        source = choose_channels(replace(open_image(image), warnings=warnings), channels)
    except SlideunetError as error:
        return SlideCheck(row["slide"], problems=tuple(dict.fromkeys([*problems, *error.problems])))
    cyx = source.pixels.shape
    check = SlideCheck(
        slide=row["slide"],
        shape=cyx,
        dtype=str(source.pixels.dtype),
        mpp=own_mpp or source.mpp,
        warnings=source.warnings,
    )
    if cyx[-2] * cyx[-1] <= HEADER_ONLY:
        with collected(problems, SlideunetError):
            check = _with_pixels(check, source, image)
        with collected(problems, SlideunetError):
            if row.get("labels"):
                check = _with_truth(
                    check, open_truth(Path(row["labels"]), cyx[-2:], mpp=check.mpp, **truth_keys)
                )
    return replace(check, problems=tuple(problems))


def check_slides(
    rows: Sequence[Mapping[str, str]],
    channels: Channels,
    mpp: float | None,
    threads: int,
    seconds: float = math.inf,
    **truth_keys: Unpack[TruthKeys],
) -> list[SlideCheck]:
    """Check the slides of all rows in parallel threads, as `check_slide`, in the order of the rows.

    No check begins after so many seconds; slides that are not checked by then are left out.
    """
    end = time.monotonic() + seconds

    def check(row: Mapping[str, str]) -> list[SlideCheck]:
        return [check_slide(row, channels, mpp, **truth_keys)] if time.monotonic() < end else []

    with ThreadPoolExecutor(threads) as pool:
        return [one for found in pool.map(check, rows) for one in found]


def with_warnings(checks: Iterable[SlideCheck], warnings: Iterable[tuple[str, str]]) -> list[SlideCheck]:
    """Add (slide, warning) to the checks of their slides."""
    more: dict[str, list[str]] = defaultdict(list)
    for slide, warning in warnings:
        more[slide].append(warning)
    return [replace(check, warnings=(*check.warnings, *more[check.slide])) for check in checks]


def contents_of(
    checks: Iterable[SlideCheck], labels: Mapping[str, str], split: Mapping[str, str]
) -> list[SlideContent]:
    """Return what is known of the contents of the faultless slides, given their labels and splits by id."""
    return [
        SlideContent(
            check.slide,
            check.content,
            split.get(check.slide, ""),
            check.blank,
            labels[check.slide],
            check.truth,
            check.n_cells,
        )
        for check in checks
        if not check.problems
    ]


def odd_channels(checks: Sequence[SlideCheck], expected: int | None = None) -> list[tuple[str, str]]:
    """Return (slide, problem) for numbers of channels unlike the others'.

    `expected` are the channels of the given model; by default the number that most slides have.
    """
    opened = [(check, check.shape[0]) for check in checks if check.shape]
    counts = Counter(count for _, count in opened)
    if not counts:
        return []
    usual = expected or counts.most_common(1)[0][0]
    others = (
        f"{counts[usual]} of {len(opened)} slides have {usual}. A network needs the same channels everywhere"
    )
    why = f"the model needs {usual}" if expected else others
    model = "use a model for such images, " if expected else ""
    return [
        (
            check.slide,
            f"has {count} channels but {why}. Set data.channels to grey, rgb or a list such as [0] (for "
            f"make predict: CHANNELS=grey), {model}or remove the slide from the sheet.",
        )
        for check, count in opened
        if count != usual
    ]


def cohort_problems(checks: Sequence[SlideCheck]) -> list[str]:
    """Return an error when all label images were read and none has a cell."""
    labelled = [check for check in checks if check.n_cells is not None]
    if not labelled or any(check.n_cells for check in labelled) or _unread(checks):
        return []
    return [
        f"all {len(labelled)} label images contain no cells (first: slide {labelled[0].slide}). Nothing can "
        "be learned from background alone. Check that the labels were exported, not an empty layer."
    ]


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


def _with_pixels(check: SlideCheck, source: Source, path: Path) -> SlideCheck:
    """Decode all pixels and add what they are; raises InputError for damage, NaN and infinity."""
    digests, lows, highs = [], [], []
    for region in BlockGrid(source.pixels.shape):
        block = np.ascontiguousarray(source.pixels[:, *region].compute(scheduler="synchronous"))
        digests.append(digest(block))
        lows.append(block.min((1, 2)))
        highs.append(block.max((1, 2)))
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    blank = bool((low == high).all())
    values = ", ".join(f"{value:g}" for value in dict.fromkeys(low.tolist()))
    warning = f"all pixels of {path.name} have the value {values}, so the image shows nothing."
    return replace(
        check,
        content=content(source.pixels.dtype, source.pixels.shape, digests),
        blank=blank,
        warnings=(*check.warnings, warning) if blank else check.warnings,
    )


def _with_truth(check: SlideCheck, truth: Truth) -> SlideCheck:
    return replace(
        check,
        truth=cells_digest(truth.labels),
        n_cells=truth.count,
        warnings=check.warnings + truth.warnings,
    )


def _unread(checks: Sequence[SlideCheck]) -> bool:
    """Return whether labels were not read that may contain cells: those of large or faulty slides."""
    return any(check.problems or (check.shape and np.prod(check.shape[1:]) > HEADER_ONLY) for check in checks)
