"""Check every image and every label image of the sheet, and report all problems together."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from slideunet import quarantine
from slideunet.errors import InputError
from slideunet.inputs.check_slides import (
    Channels,
    SlideCheck,
    check_slides,
    check_table,
    cohort_problems,
    cohort_warnings,
)
from slideunet.inputs.split import split_groups
from slideunet.logs import log_to
from slideunet.stores.files import write_atomically

_MOST_WARNINGS = 20  # Of single slides in the log: hundreds hide what comes after them.


def main(
    *,
    rows: Sequence[Mapping[str, str]],
    batches: Mapping[str, Sequence[str]],
    channels: Channels,
    mpp: float | None,
    ignore_label: int | None,
    weights: Path | None,
    val: float,
    test: float,
    seed: int,
    required: Collection[str],
    quarantine_folder: Path,
    threads: int,
    table: Path,
) -> None:
    """Check a cohort and write a table of its slides.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the sheet as `read_sheet` returns them.
    batches : mapping
        Batch id to slide ids, for the table.
    channels : None, "grey", "rgb" or list of int
    mpp : float or None
        Micrometres per pixel of the working grid.
    ignore_label : int or None
        Value of ignored pixels in label images.
    weights : Path or None
        Folder of a trained model.
    val, test, seed
        Of the split, so that too few groups are told before anything is converted.
    required : collection of str
        Slides that the run cannot do without; another one that has a problem is set aside.
    quarantine_folder : Path
        Where it is written down which these are.
    threads : int
    table : Path
        Written: slide, batch, height, width, channels, dtype, mpp, labelled, warnings.
    """
    sheet = pd.DataFrame(rows)
    checks = check_slides(sheet, channels, mpp, threads, ignore_label=ignore_label)
    damaged = [check for check in checks if check.problems]
    # When nothing is left, there is no run that could go on.
    fatal = [check for check in damaged if check.slide in required or len(damaged) == len(checks)]
    problems = [f"slide {check.slide}: {problem}" for check in fatal for problem in check.problems]
    problems += _split_problems(sheet, val=val, test=test, seed=seed, training=weights is None)
    problems += cohort_problems(checks, _channels_of(weights) if weights else None)
    if problems:
        raise InputError(problems)
    _set_aside(damaged, quarantine_folder)
    _warn(checks, table)
    batch_of = {slide: batch for batch, slides in batches.items() for slide in slides}
    write_atomically(table, check_table(checks, sheet, batch_of).to_csv(sep="\t", index=False))


def _warn(checks: Sequence[SlideCheck], table: Path) -> None:
    warnings = [f"slide {check.slide}: {text}" for check in checks for text in check.warnings]
    for warning in warnings[:_MOST_WARNINGS]:
        logging.warning(warning)
    if len(warnings) > _MOST_WARNINGS:
        logging.warning(f"... and {len(warnings) - _MOST_WARNINGS} more like these: all are in {table}")
    for warning in cohort_warnings(checks):
        logging.warning(warning)


def _set_aside(damaged: Sequence[SlideCheck], folder: Path) -> None:
    quarantine.release(folder, quarantine.read(folder))
    for check in damaged:
        error = InputError(f"slide {check.slide}: {problem}" for problem in check.problems)
        logging.warning(f"Set aside: {error}")
        quarantine.put(folder, check.slide, error)


def _split_problems(
    sheet: pd.DataFrame, *, val: float, test: float, seed: int, training: bool
) -> Sequence[str]:
    unread = sheet.assign(labelled=sheet["labels"] != "", n_objects=None, content="")
    try:
        split_groups(unread, val=val, test=test, seed=seed, training=training)
    except InputError as error:
        return error.problems
    return ()


def _channels_of(weights: Path) -> int:
    path = weights / "model.json"
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
            rows=snakemake.params.rows,
            batches=snakemake.params.batches,
            channels=snakemake.params.channels,
            mpp=snakemake.params.mpp,
            ignore_label=snakemake.params.ignore_label,
            weights=snakemake.params.weights and Path(snakemake.params.weights),
            val=snakemake.params.val,
            test=snakemake.params.test,
            seed=snakemake.params.seed,
            required=snakemake.params.required,
            quarantine_folder=Path(snakemake.params.quarantine_folder),
            threads=snakemake.threads,
            table=Path(snakemake.output.table),
        )
