"""All problems of a sample sheet in one list, and with them those of its images when there are any."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slideunet.errors import InputError, collected
from slideunet.inputs.configuration.schema import check_configuration
from slideunet.inputs.configuration.unchecked import text_at, value_at
from slideunet.inputs.configuration.wording import Schema
from slideunet.inputs.row_problems import Row, RowProblem, locate, row_messages
from slideunet.inputs.sheet import Sheet, check_columns, check_purpose, missing_files
from slideunet.inputs.split import split_sheet
from slideunet.model_json import read_model_facts

SECONDS = 20.0
"""Time after which no further image is checked before the start."""
_THREADS = 4
_UNCHECKED = (
    "{left} of {count} images were not checked yet: the time for that before the start ({seconds:g} s) was "
    "over. They are checked once these problems are mended."
)


def sheet_problems(
    sheet: Sheet,
    config: Mapping[str, Any],
    schema: Schema,
    weights: Path | None,
    *,
    stopping: bool = False,
    seconds: float = SECONDS,
) -> list[str]:
    """Return the problems of all rows in the order of the sheet, then those of the sheet as a whole.

    A run whose sheet is faulty ends here, so its split and images are checked now as well: else their
    problems would only come up once those of the sheet are mended. Without a problem, a job checks them.

    Parameters
    ----------
    sheet : Sheet
    config : mapping
        Unchecked; what a section with errors would say is left out.
    schema : mapping
        Of the configuration.
    weights : Path or None
        Folder of the model that is used instead of training one, if it was found.
    stopping : bool
        Whether the configuration has problems, so that the run ends anyway.
    seconds : float
        After which no further image is checked.
    """
    rows, whole = [*sheet.problems, *missing_files(sheet)], list[str]()
    model = text_at(config, "model", "weights")
    with collected(whole):
        check_columns(sheet.slides, value_at(config, "report", "by"))
    if value_at(config, "report", "compare_with") and not any(sheet.slides["labels"]):
        whole.append(
            "report.compare_with: runs are compared on slides with ground truth, but no slide has `labels`. "
            "Add labels to the sheet, or remove report.compare_with."
        )
    with collected(whole):
        check_purpose(sheet.slides, model)
        if (rows or whole or stopping) and (split := _section("split", config, schema)):
            split_sheet(sheet.slides, **split, training=model is None)
    if (rows or whole or stopping) and (data := _section("data", config, schema)):
        of_images, more = _image_problems(sheet, data, weights, seconds)
        rows, whole = rows + of_images, whole + more
    return [*row_messages(sheet.path, rows), *whole]


def _section(name: str, config: Mapping[str, Any], schema: Schema) -> dict[str, Any] | None:
    """Return a section of the configuration with its defaults, None when it has errors itself."""
    try:
        section: Any = check_configuration({"slides": "sheet", name: config.get(name)}, schema)[name]
    except InputError:
        return None
    return section


def _image_problems(
    sheet: Sheet, data: Mapping[str, Any], weights: Path | None, seconds: float
) -> tuple[list[RowProblem], list[str]]:
    # Loads the readers, which a sheet without problems does not need.
    from slideunet.inputs.check_slides import check_slides, contents_of, odd_channels
    from slideunet.inputs.equal_slides import equal_problems

    rows = [_checkable(row, data["mpp"]) for _, row in sheet.numbered if row["image"]]
    rows = [row for row in rows if Path(row["image"]).exists()]
    checks = check_slides(
        rows,
        data["channels"],
        data["mpp"],
        min(os.cpu_count() or 1, _THREADS),
        seconds,
        ignore_label=data["ignore_label"],
        background_label=data["background_label"],
        kind=data["truth"],
        outline=data["outline"],
    )
    lines = {row["slide"]: line for line, row in reversed(sheet.numbered)}
    single = [(check.slide, problem) for check in checks for problem in check.problems]
    single += odd_channels(checks, _channels(weights))
    labels, splits = ({row["slide"]: row[name] for row in rows} for name in ("labels", "split"))
    equal = equal_problems(contents_of(checks, labels, splits))
    left = len(rows) - len(checks)
    unchecked = [_UNCHECKED.format(left=left, count=len(rows), seconds=seconds)] if left else []
    return locate(lines, single, equal), unchecked


def _checkable(row: Row, working_mpp: float | None) -> Row:
    """Return a row without what the sheet's own check has found wrong: missing labels, an odd pixel size."""
    labels = row["labels"] if row["labels"] and Path(row["labels"]).exists() else ""
    # Any size will do for the check of an image whose own is misspelt.
    mpp = row["mpp"] if _is_size(row["mpp"]) else f"{working_mpp or ''}"
    return row | {"labels": labels, "mpp": mpp}


def _is_size(text: str) -> bool:
    try:
        return not text or 0 < float(text) < math.inf
    except ValueError:
        return False


def _channels(weights: Path | None) -> int | None:
    return read_model_facts(weights)["architecture"].get("channels") if weights else None
