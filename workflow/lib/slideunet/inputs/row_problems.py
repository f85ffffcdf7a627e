"""Problems of single rows of the sample sheet, wherever they are found, in one order and wording."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from slideunet.inputs.configuration.wording import Schema, allowed_values, did_you_mean, types

# Windows reserves these names for devices, with any file extension.
RESERVED = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10)),
}

Row = dict[str, str]


@dataclass(frozen=True)
class RowProblem:
    """A problem of one row.

    Attributes
    ----------
    line : int
        Of the sheet, from 1.
    slide : str
        Id; "" when the problem is the id itself.
    text : str
        What is wrong, why, and what to do.
    also : tuple of int
        Lines of other rows, when the problem is that they do not go together.
    """

    line: int
    slide: str
    text: str
    also: tuple[int, ...] = ()


def row_messages(sheet: Path, problems: Iterable[RowProblem]) -> list[str]:
    """Return the messages of problems in the order of the sheet, each with its line and slide."""
    ordered = sorted(problems, key=lambda problem: problem.line)
    return list(dict.fromkeys(f"{sheet.name} {_place(problem)}: {problem.text}" for problem in ordered))


def locate(
    lines: Mapping[str, int],
    single: Iterable[tuple[str, str]],
    together: Iterable[tuple[Sequence[str], str]],
) -> list[RowProblem]:
    """Return problems of slides with their lines in the sheet.

    Parameters
    ----------
    lines : mapping
        Slide id to line.
    single : iterable of (slide, text)
    together : iterable of (slides, text)
        Problems of slides that do not go together.
    """
    places = ((sorted(lines[slide] for slide in slides), text) for slides, text in together)
    return [
        *(RowProblem(lines[slide], slide, text) for slide, text in single),
        *(RowProblem(first, "", text, tuple(others)) for (first, *others), text in places),
    ]


def _place(problem: RowProblem) -> str:
    if problem.also:
        *lines, last = (problem.line, *problem.also)
        return f"lines {', '.join(map(str, lines))} and {last}"
    return f"line {problem.line}" + (f", slide {problem.slide}" if problem.slide else "")


def problems_of_row(line: int, row: Row, schema: Schema) -> list[RowProblem]:
    """Return the problems of the text of one row."""
    texts = list(_texts(row, schema))
    if not texts:
        return []
    slide = row.get("slide", "")
    from jsonschema import Draft202012Validator  # Most jobs read a sheet that is checked already.

    valid = Draft202012Validator(schema["properties"]["slide"]).is_valid(slide) and not _reserved(slide)
    return [RowProblem(line, slide if valid else "", text) for text in texts]


def repeated_ids(rows: Sequence[tuple[int, Row]]) -> Iterator[RowProblem]:
    """Yield a problem for every slide id that an earlier row has."""
    first: dict[str, tuple[int, str]] = {}
    for line, row in rows:
        slide = row["slide"]
        line_before, before = first.setdefault(slide.lower(), (line, slide))
        if slide and line_before != line:
            same = f"'{slide}'" if slide == before else f"'{before}' and '{slide}'"
            why = "Some systems ignore upper and lower case."
            yield RowProblem(
                line_before, slide, f"both have the slide {same}. {why} Change or remove one.", (line,)
            )


def _texts(row: Row, schema: Schema) -> Iterator[str]:
    typed = {name: _typed(value, schema["properties"].get(name, {})) for name, value in row.items()}
    typed = dict.fromkeys(schema["required"], "") | typed
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(schema).iter_errors(typed):
        yield _cell_problem(str(error.absolute_path[0]), row, cast("Schema", error.schema))
    if _reserved(row.get("slide", "")):
        yield (
            f"'{row['slide']}' is not a valid slide id. Windows reserves that name for a device. Choose "
            "another id."
        )
    if row.get("split") in ("train", "val", "test") and not row.get("labels"):
        yield (
            f"has split '{row['split']}' but no labels. Training, validation and test need ground truth. "
            "Give its labels or write 'predict'."
        )
    for name, value in row.items():
        if any(unicodedata.category(character) == "Cc" for character in value):
            yield (
                f"the column '{name}' has a control character ({value!r}). It would corrupt tables. Type "
                "it again."
            )


def _reserved(slide: str) -> bool:
    return slide.split(".")[0].upper() in RESERVED


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
