"""Check every image and every label image of the sheet, and report all problems together."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from slideunet import quarantine
from slideunet.errors import InputError
from slideunet.inputs.batches import assign_batches, image_sizes
from slideunet.inputs.check_slides import (
    Channels,
    SlideCheck,
    check_slides,
    check_table,
    cohort_problems,
    cohort_warnings,
    contents_of,
    odd_channels,
    with_warnings,
)
from slideunet.inputs.equal_slides import equal_problems, equal_warnings
from slideunet.inputs.row_problems import locate, row_messages
from slideunet.inputs.sheet import learned_slides, lines_of, load_sheet, records
from slideunet.inputs.split import split_sheet
from slideunet.logs import log_to
from slideunet.stores.files import write_atomically
from slideunet.truth.kinds_of_labels import TruthKeys

_MOST_WARNINGS = 20  # Of single slides in the log: hundreds hide what comes after them.


def main(
    *,
    sheet: Path,
    channels: Channels,
    mpp: float | None,
    truth_keys: TruthKeys,
    model: Path | None,
    seen: bool,
    val: float,
    test: float,
    seed: int,
    quarantine_folder: Path,
    threads: int,
    table: Path,
    complete: Path,
) -> None:
    """Check a cohort, write a table of its slides, and the sheet as all further jobs read it.

    Parameters
    ----------
    sheet : Path
        The user's sample sheet, which `read_sheet` has accepted.
    channels : None, "grey", "rgb" or list of int
    mpp : float or None
        Micrometres per pixel of the working grid.
    truth_keys : TruthKeys
        How label images and outlines are read.
    model : Path or None
        model.json of the model that is used instead of training one. Without it, every slide that the
        training needs has to be good; otherwise a slide that has a problem is excluded.
    seen : bool
        Whether there is a model that may have seen some of the slides: the one in use, or the one that the
        training starts from.
    val, test, seed
        Of the split, so that too few groups are reported before anything is converted.
    quarantine_folder : Path
        Gets a file for every slide that is excluded.
    threads : int
    table : Path
        Written: slide, batch, height, width, channels, dtype, mpp, labelled, warnings.
    complete : Path
        Written: the sheet with all contract columns and absolute paths.
    """
    rows = load_sheet(sheet)
    checks = check_slides(records(rows), channels, mpp, threads, **truth_keys)
    damaged = [check for check in checks if check.problems]
    required = learned_slides(rows) if model is None else []
    # When nothing is left, there is no run that could go on.
    needed = set(rows["slide"] if len(damaged) == len(checks) else required)
    used = [check for check in checks if not check.problems or check.slide in needed]
    single = [(check.slide, problem) for check in used for problem in check.problems]
    single += odd_channels(used, _channels_of(model) if model else None)
    of_split, split = _split(rows, val=val, test=test, seed=seed, training=model is None)
    # Slides that a model has seen may move to the training split: only given splits are certain.
    split = {} if seen else split
    labels, given = (dict(zip(rows["slide"], rows[name], strict=True)) for name in ("labels", "split"))
    contents = contents_of(used, labels, given | split)
    of_rows = locate(lines_of(sheet), single, equal_problems(contents))
    if problems := [*row_messages(sheet, of_rows), *of_split, *cohort_problems(checks)]:
        raise InputError(problems)
    _exclude(damaged, quarantine_folder)
    checks = with_warnings(checks, equal_warnings(contents))
    _warn(checks, table)
    write_atomically(table, check_table(checks, rows, _batch_of(rows)).to_csv(sep="\t", index=False))
    write_atomically(complete, rows.to_csv(sep="\t", index=False))


def _batch_of(rows: pd.DataFrame) -> dict[str, str]:
    """Return the batch of every slide."""
    batches = assign_batches(image_sizes(rows))
    return {slide: batch for batch, slides in batches.items() for slide in slides}


def _warn(checks: Sequence[SlideCheck], table: Path) -> None:
    warnings = [f"slide {check.slide}: {text}" for check in checks for text in check.warnings]
    for warning in warnings[:_MOST_WARNINGS]:
        logging.warning(warning)
    if len(warnings) > _MOST_WARNINGS:
        logging.warning(f"... and {len(warnings) - _MOST_WARNINGS} more like these: all are in {table}")
    for warning in cohort_warnings(checks):
        logging.warning(warning)


def _exclude(damaged: Sequence[SlideCheck], folder: Path) -> None:
    quarantine.release(folder, quarantine.read(folder))
    for check in damaged:
        error = InputError(f"slide {check.slide}: {problem}" for problem in check.problems)
        logging.warning(f"Excluded: {error}")
        quarantine.put(folder, check.slide, error)


def _split(
    sheet: pd.DataFrame, *, val: float, test: float, seed: int, training: bool
) -> tuple[Sequence[str], dict[str, str]]:
    """Return the problems of the split, and the split of every slide when there are none."""
    try:
        return (), split_sheet(sheet, val=val, test=test, seed=seed, training=training)
    except InputError as error:
        return error.problems, {}


def _channels_of(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["architecture"]["channels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"model.weights: {path} does not describe a model ({type(error).__name__}: {error}). Without "
            "that the network cannot be built. Give the folder of model.json and model.safetensors."
        ) from error


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            sheet=Path(snakemake.input.sheet),
            channels=snakemake.params.channels,
            mpp=snakemake.params.mpp,
            truth_keys=TruthKeys(
                ignore_label=snakemake.params.ignore_label,
                background_label=snakemake.params.background_label,
                kind=snakemake.params.truth,
                outline=snakemake.params.outline,
            ),
            model=Path(snakemake.input.model[0]) if snakemake.input.model else None,
            seen=snakemake.params.seen,
            val=snakemake.params.val,
            test=snakemake.params.test,
            seed=snakemake.params.seed,
            quarantine_folder=Path(snakemake.params.quarantine_folder),
            threads=snakemake.threads,
            table=Path(snakemake.output.table),
            complete=Path(snakemake.output.sheet),
        )
