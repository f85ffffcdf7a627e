"""Reading the sample sheet: cells are plain text, and every problem is known by its line."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slideunet.errors import InputError
from slideunet.inputs.configuration.wording import Schema, did_you_mean, nearest
from slideunet.inputs.row_problems import Row, RowProblem, problems_of_row, repeated_ids
from slideunet.inputs.text_table import Table, read_table

_NEAR_MISS = 0.75
# What slides.schema.yaml describes, in its order.
SHEET_COLUMNS = ("slide", "image", "labels", "group", "split", "stratum", "mpp")


@dataclass(frozen=True)
class Sheet:
    """A sample sheet, of which single rows may have problems.

    Attributes
    ----------
    path : Path
    slides : pandas.DataFrame
        One row per slide in the order of the sheet, every cell is text ("001" and "NA" are kept).
        All contract columns are present, "" by default; the default `group` is the slide itself.
        `image` and `labels` are absolute. Other columns follow as metadata.
    lines : tuple of int
        Line of every row in the file, from 1.
    problems : tuple of RowProblem
        Of the text of the rows.
    """

    path: Path
    slides: pd.DataFrame
    lines: tuple[int, ...]
    problems: tuple[RowProblem, ...]

    @property
    def numbered(self) -> list[tuple[int, Row]]:
        """The line of every row, and its cells."""
        return list(zip(self.lines, records(self.slides), strict=True))


def read_sheet(path: Path, schema: Schema) -> Sheet:
    """Read a sample sheet and check its text.

    Parameters
    ----------
    path : Path
        TSV when its header has a tab, CSV otherwise; UTF-8.
    schema : mapping
        JSON schema of one row; its properties are the contract columns.

    Returns
    -------
    Sheet
        With the problems of all rows.

    Raises
    ------
    InputError
        When there are no rows that could be read: the file, its header, or no slide.
    """
    table = read_table(path)
    if problems := list(_header_problems(path, table.header, schema)):
        raise InputError(problems)
    rows = list(zip(table.lines, table.rows, strict=True))
    if not rows:
        raise InputError(
            f"{path}: has a header but no slide. There is nothing to do. Add one line per slide."
        )
    found = [problem for line, row in rows for problem in problems_of_row(line, row, schema)]
    return Sheet(path, _complete_sheet(table, path.parent), table.lines, (*found, *repeated_ids(rows)))


def load_sheet(path: Path) -> pd.DataFrame:
    """Read a sample sheet in which `read_sheet` found no problem, and return the same table."""
    return _complete_sheet(read_table(path), path.parent)


def records(sheet: pd.DataFrame) -> list[Row]:
    """Return the cells of every row by the names of their columns."""
    return [{str(name): cell for name, cell in row.items()} for row in sheet.to_dict("records")]


def lines_of(path: Path) -> dict[str, int]:
    """Return the line of every slide in a sample sheet, from 1."""
    table = read_table(path)
    return {row["slide"]: line for line, row in zip(table.lines, table.rows, strict=True)}


def learned_slides(sheet: pd.DataFrame) -> list[str]:
    """Return the slides that a training run cannot do without: those with labels that are to be split."""
    return list(sheet.loc[(sheet["labels"] != "") & (sheet["split"] != "predict"), "slide"])


def missing_files(sheet: Sheet) -> list[RowProblem]:
    """Return a problem for every missing image and label file of a sheet."""
    return [
        RowProblem(line, row["slide"], _missing(column, Path(row[column])))
        for line, row in sheet.numbered
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


def _missing(column: str, path: Path) -> str:
    kind = "image" if column == "image" else "label file"
    if path.is_symlink():
        return f"the {kind} {path} is a link to {path.readlink()}, which does not exist. Repair the link."
    return f"the {kind} {path} does not exist. Correct the path; it is relative to the sheet's folder."
