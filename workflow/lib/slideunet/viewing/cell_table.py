"""Rows of the table of cells, read one at a time or all of a small one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slideunet.errors import DamagedDataError

if TYPE_CHECKING:
    import pyarrow as pa  # Not of every view, and slow to start.

MOST_PROPERTIES = 50_000
"""Cells whose properties the browser gets all at once; of more it gets only the row that is asked for."""


def read_row(table: Path, cell: int) -> dict[str, Any] | None:
    """Read the row of one cell: column to value, None where there is none; None without such a cell.

    Only the row groups whose ids can include the cell are read.

    Raises
    ------
    DamagedDataError
        When the table cannot be read.
    """
    import pyarrow.parquet as pq

    with _reading(table):
        rows = pq.read_table(table, filters=[("cell", "==", cell)]).to_pylist()
    return {name: _finite(value) for name, value in rows[0].items()} if rows else None


def segment_properties(table: Path) -> dict[str, Any] | None:
    """Return the numbers of all cells as Neuroglancer's segment properties; None if there are too many cells.

    https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/segment_properties.md

    Raises
    ------
    DamagedDataError
        When the table cannot be read.
    """
    import pyarrow.parquet as pq

    with _reading(table):
        file = pq.ParquetFile(table)
        if not 0 < file.metadata.num_rows <= MOST_PROPERTIES:
            return None
        rows = file.read()
        ids = rows["cell"].to_pylist()
    properties = [
        {"id": _identifier(name), "type": "number", "data_type": "float32", "values": _floats(column)}
        for name, column in zip(rows.column_names, rows.columns, strict=True)
        if name != "cell" and _is_number(column)
    ]
    inline = {"ids": [str(cell) for cell in ids], "properties": properties}
    return {"@type": "neuroglancer_segment_properties", "inline": inline}


@contextmanager
def _reading(table: Path) -> Iterator[None]:
    """Say which table it is that cannot be read."""
    import pyarrow as pa

    try:
        yield
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise DamagedDataError(
            f"{table} cannot be read ({reason}). Delete it and run the workflow again."
        ) from error


def _is_number(column: pa.ChunkedArray) -> bool:
    import pyarrow.types as kinds

    return any(is_kind(column.type) for is_kind in (kinds.is_integer, kinds.is_floating, kinds.is_boolean))


def _floats(column: pa.ChunkedArray) -> list[float]:
    """Return numbers, 0 where there is none: JSON has no NaN."""
    values = column.to_numpy().astype(np.float32)
    return np.nan_to_num(values, posinf=0, neginf=0).tolist()


def _finite(value: Any) -> Any:  # noqa: ANN401 (whatever a table holds)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _identifier(name: str) -> str:
    """Return a column as the name of a property: a small letter, then letters, digits and `_`."""
    found = re.sub(r"[^a-z0-9_]+", "_", name.lower())
    return found if found[:1].isalpha() else f"p{found}"
