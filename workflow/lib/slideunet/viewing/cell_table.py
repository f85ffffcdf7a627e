"""Rows of the table of cells, read one at a time or all of a small one."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from slideunet.errors import DamagedDataError

MOST_PROPERTIES = 50_000
"""Cells whose properties the browser gets all at once; of more it gets only the row that is asked for."""


def read_row(table: Path, cell: int) -> dict[str, float] | None:
    """Read the row of one cell: column to number, true as 1, empty ones left out; None without such a cell.

    Only the row groups whose ids can include the cell are read.

    Raises
    ------
    DamagedDataError
        When the table cannot be read.
    """
    try:
        rows = pq.read_table(table, filters=[("cell", "==", cell)]).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedDataError(
            f"{table} cannot be read ({error}). Delete it and run the workflow again."
        ) from error
    if not rows:
        return None
    numbers = {name: float(value) for name, value in rows[0].items() if isinstance(value, int | float)}
    return {_identifier(name): value for name, value in numbers.items() if np.isfinite(value)}


def segment_properties(table: Path) -> dict[str, Any] | None:
    """Return the numbers of all cells as Neuroglancer's segment properties; None if there are too many cells.

    https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/segment_properties.md
    """
    file = pq.ParquetFile(table)
    if not 0 < file.metadata.num_rows <= MOST_PROPERTIES:
        return None
    rows = file.read().to_pandas()
    numbers = rows.drop(columns="cell").select_dtypes(["number", "bool"]).astype(np.float32)
    properties = [
        {
            "id": _identifier(str(name)),
            "type": "number",
            "data_type": "float32",
            "values": np.nan_to_num(column.to_numpy(), posinf=0, neginf=0).tolist(),
        }
        for name, column in numbers.items()
    ]
    inline = {"ids": [str(cell) for cell in rows["cell"]], "properties": properties}
    return {"@type": "neuroglancer_segment_properties", "inline": inline}


def _identifier(name: str) -> str:
    """Return a column as the name of a property: a small letter, then letters, digits and `_`."""
    found = re.sub(r"[^a-z0-9_]+", "_", name.lower())
    return found if found[:1].isalpha() else f"p{found}"
