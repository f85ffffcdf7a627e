"""Reading a delimited text table as plain text, with the line number of every row."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from slideunet.errors import InputError

NOT_TEXT = {
    b"PK\x03\x04": "a workbook of a spreadsheet (.xlsx or .ods)",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel (.xls)",
    b"\xff\xfe": "UTF-16 ('Unicode text' of Excel)",
    b"\xfe\xff": "UTF-16",
}
"""First bytes of files that spreadsheets write instead of UTF-8 text."""


@dataclass(frozen=True)
class Table:
    """A header and rows of stripped text; `lines` are the rows' line numbers in the file, from 1."""

    header: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]


def read_table(path: Path) -> Table:
    """Read a TSV (its header has a tab) or CSV table in UTF-8; nothing is interpreted or dropped.

    Raises
    ------
    InputError
        When the file cannot be read, has no header, or has rows with more fields than the header.
    """
    numbered = _fields(path, _text(path))
    if not numbered:
        raise InputError(
            f"{path}: is empty. A run needs slides. Write a header 'slide,image,labels' and one line per "
            "slide."
        )
    numbered = _without_empty_columns(numbered)
    header = tuple(numbered[0][1])
    if len(header) == 1 and ";" in header[0]:
        raise InputError(
            f"{path}: its columns are separated by ';'. Only tabs and commas are read. Save it with one "
            "of them."
        )
    too_long = [
        f"{path} line {line}: has {len(fields)} fields but the header has {len(header)}. An extra field "
        "would shift the columns. Remove it, or quote the field that contains the separator."
        for line, fields in numbered[1:]
        if any(fields[len(header) :])
    ]
    if too_long:
        raise InputError(too_long)
    padded = [(line, fields + [""] * (len(header) - len(fields))) for line, fields in numbered[1:]]
    rows = tuple(dict(zip(header, fields, strict=False)) for _, fields in padded)
    return Table(header, rows, tuple(line for line, _ in padded))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror
        raise InputError(
            f"{path}: the table cannot be read ({why}). Correct `slides` in the configuration."
        ) from error
    for start, kind in NOT_TEXT.items():
        if data.startswith(start):
            raise InputError(
                f"{path}: is {kind}, not a text table. Save it as text: in Excel "
                "'CSV UTF-8 (comma delimited)'."
            )
    try:
        return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text. Save the table as tab-separated text in UTF-8."
        ) from error


def _without_empty_columns(numbered: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Drop columns at the end that have neither a name nor a value, which spreadsheets write."""
    header = numbered[0][1]
    used = max(len(header), *(len(fields) for _, fields in numbered))
    while used and not any(field for _, fields in numbered for field in fields[used - 1 : used]):
        used -= 1
    return [(line, fields[:used]) for line, fields in numbered]


def _fields(path: Path, text: str) -> list[tuple[int, list[str]]]:
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ","
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    numbered, line = [], 1
    try:
        for fields in reader:
            stripped = [field.strip() for field in fields]
            if any(stripped):
                numbered.append((line, stripped))
            # A quoted field may contain line breaks: the next row begins after the last line read.
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path} line {line}: is not a row of a table ({error}). Check its quotation marks."
        ) from error
    return numbered
