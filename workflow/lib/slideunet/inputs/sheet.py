"""Reading the sample sheet: cells are plain text, and all problems are reported together with their lines."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pandas as pd

from slideunet.errors import InputError
from slideunet.inputs.configuration.wording import Schema, allowed_values, did_you_mean, nearest, types
from slideunet.inputs.text_table import Table, read_table

# Windows reserves these names for devices, with any file extension.
RESERVED = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10)),
}
_NEAR_MISS = 0.75
# What slides.schema.yaml describes, in its order.
SHEET_COLUMNS = ("slide", "image", "labels", "group", "split", "stratum", "mpp")

Row = dict[str, str]


def read_sheet(
    path: Path, schema: Schema, check: Callable[[pd.DataFrame], Iterable[str]] = lambda sheet: ()
) -> pd.DataFrame:
    """Read and check a sample sheet.

    Parameters
    ----------
    path : Path
        TSV when its header has a tab, CSV otherwise; UTF-8.
    schema : mapping
        JSON schema of one row; its properties are the contract columns.
    check : callable
        Finds further problems of the sheet, which are reported together with those of its text.

    Returns
    -------
    pandas.DataFrame
        One row per slide in the order of the sheet, every cell is text ("001" and "NA" are kept).
        All contract columns are present, "" by default; the default `group` is the slide itself.
        `image` and `labels` are absolute. Other columns follow as metadata.

    Raises
    ------
    InputError
        With one message per problem and its line.
    """
    table = read_table(path)
    problems = list(_header_problems(path, table.header, schema))
    if problems:
        raise InputError(problems)
    rows = list(zip(table.lines, table.rows, strict=True))
    if not rows:
        raise InputError(
            f"{path}: has a header but no slide. There is nothing to do. Add one line per slide."
        )
    for line, row in rows:
        problems.extend(f"{path} line {line}: {problem}" for problem in _row_problems(row, schema))
    problems.extend(_repeated(path, rows, "slide", str.lower, "Some systems ignore upper and lower case."))
    problems.extend(_repeated(path, rows, "image", str, "The same pixels could end up in two splits."))
    sheet = _complete_sheet(table, path.parent)
    problems.extend(check(sheet))
    if problems:
        raise InputError(problems)
    return sheet


def load_sheet(path: Path) -> pd.DataFrame:
    """Read a sample sheet that `read_sheet` has accepted, and return the same table."""
    return _complete_sheet(read_table(path), path.parent)


def learned_slides(sheet: pd.DataFrame) -> list[str]:
    """Return the slides that a training run cannot do without: those with labels that are to be split."""
    return list(sheet.loc[(sheet["labels"] != "") & (sheet["split"] != "predict"), "slide"])


def missing_files(sheet: pd.DataFrame) -> list[str]:
    """Return a message for every missing image and label file of a sheet.

    Parameters
    ----------
    sheet : pandas.DataFrame
        As `read_sheet` returns it.
    """
    return [
        _missing(row["slide"], column, Path(row[column]))
        for row in sheet.to_dict("records")
        for column in ("image", "labels")
        if row[column] and not Path(row[column]).exists()
    ]


def check_purpose(sheet: pd.DataFrame, weights: str | None) -> None:
    """Raise InputError when there is neither a labelled slide for training nor a trained model."""
    if weights or learned_slides(sheet):
        return
    columns = ", ".join(sheet.columns)
    raise InputError(
        f"the sheet has {len(sheet)} slides, none of them has labels for training, and model.weights "
        "is not set. Without either there is no network to predict with. Fill the column 'labels' "
        f"(columns found: {columns}) or set model.weights to the folder of a trained model."
    )


def check_columns(sheet: pd.DataFrame, names: object) -> None:
    """Raise InputError when a name in the list `report.by` is no column of the sheet."""
    unknown = [name for name in names if name not in sheet.columns] if isinstance(names, list) else []
    if unknown:
        raise InputError(
            f"report.by: the sheet has no column '{name}'.{did_you_mean(str(name), map(str, sheet.columns))} "
            f"Columns: {', '.join(map(str, sheet.columns))}."
            for name in unknown
        )


def normal_path(path: str | Path) -> str:
    """Return an absolute path without "." and "..", without following links, for comparisons."""
    return os.path.normpath(Path(path).absolute())


def _header_problems(path: Path, header: Sequence[str], schema: Schema) -> Iterator[str]:
    contract = schema["properties"]
    absent = [name for name in contract if name not in header]
    for name in dict.fromkeys(header):
        near = nearest(name, absent, _NEAR_MISS)
        if header.count(name) > 1:
            yield (
                f"{path}: there are {header.count(name)} columns '{name}'. Only one can be used. Rename one."
            )
        if name not in contract and near:
            yield (
                f"{path}: column '{name}' is unknown; did you mean '{near}'? Rename it (metadata needs "
                "other names)."
            )
        if not name:
            yield (
                f"{path}: column {header.index(name) + 1} has no name. Name it in the first line or "
                "remove it."
            )
    for name in schema["required"]:
        if name not in header and not any(
            nearest(other, [name], _NEAR_MISS) for other in header if other not in contract
        ):
            yield (
                f"{path}: the column '{name}' is missing. {contract[name]['description']} Columns found: "
                f"{', '.join(header)}."
            )


def _row_problems(row: Row, schema: Schema) -> Iterator[str]:
    from jsonschema import Draft202012Validator  # Most jobs read a sheet that is checked already.

    typed = {name: _typed(value, schema["properties"].get(name, {})) for name, value in row.items()}
    typed = dict.fromkeys(schema["required"], "") | typed
    for error in Draft202012Validator(schema).iter_errors(typed):
        yield _cell_problem(str(error.absolute_path[0]), row, cast("Schema", error.schema))
    if row.get("slide", "").split(".")[0].upper() in RESERVED:
        yield (
            f"'{row['slide']}' is not a valid slide id. Windows reserves that name for a device. Choose "
            "another id."
        )
    if row.get("split") in ("train", "val", "test") and not row.get("labels"):
        yield (
            f"slide {row['slide']} has split '{row['split']}' but no labels. Training, validation and "
            "test need ground truth. Give its labels or write 'predict'."
        )
    for name, value in row.items():
        if any(unicodedata.category(character) == "Cc" for character in value):
            yield (
                f"the column '{name}' has a control character ({value!r}). It would corrupt tables. Type "
                "it again."
            )


def _typed(value: str, column: Schema) -> object:
    if "number" not in types(column):
        return value
    try:
        number = float(value) if value else None
    except ValueError:
        return value
    return value if number in (float("inf"), float("-inf")) or number != number else number


def _cell_problem(name: str, row: Row, column: Schema) -> str:
    value = row.get(name, "")
    if name == "slide":
        return (
            f"{value!r} is not a valid slide id. It becomes part of file names. Use 1 to 64 letters, "
            "digits, '.', '_' or '-', beginning with a letter or digit."
        )
    if not value:
        return f"the column '{name}' is empty. {column.get('description', '')} Fill it in."
    return (
        f"{name} is {value!r}. Allowed: "
        f"{allowed_values(column)}.{did_you_mean(value, filter(None, column.get('enum', [])))}"
    )


def _repeated(
    path: Path, rows: list[tuple[int, Row]], column: str, key: Callable[[str], str], why: str
) -> Iterator[str]:
    first: dict[str, tuple[int, str]] = {}
    for line, row in rows:
        value = row.get(column, "")
        line_before, before = first.setdefault(key(value), (line, value))
        if value and line_before != line:
            same = f"'{value}'" if value == before else f"'{before}' and '{value}'"
            yield (
                f"{path} lines {line_before} and {line}: both have the {column} {same}. {why} Change or "
                "remove one."
            )


def _complete_sheet(table: Table, folder: Path) -> pd.DataFrame:
    columns = [*SHEET_COLUMNS, *(name for name in table.header if name not in SHEET_COLUMNS)]
    rows = [dict.fromkeys(columns, "") | _complete(row, folder) for row in table.rows]
    return pd.DataFrame(rows, columns=columns, dtype=str)


def _complete(row: Row, folder: Path) -> Row:
    complete = dict(row)
    complete["group"] = row.get("group") or row["slide"]
    for column in ("image", "labels"):
        if row.get(column):
            complete[column] = normal_path(folder / row[column])
    return complete


def _missing(slide: str, column: str, path: Path) -> str:
    kind = "image" if column == "image" else "label file"
    if path.is_symlink():
        return (
            f"slide {slide}: the {kind} {path} is a link to {path.readlink()}, which does not exist. "
            "Repair the link."
        )
    return (
        f"slide {slide}: the {kind} {path} does not exist. Correct the path; it is relative to the "
        "sheet's folder."
    )
