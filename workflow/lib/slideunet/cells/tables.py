"""The table of cells as a Parquet file that says what it was made from."""

import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from slideunet.images.stores import write_atomically

_KEY = b"slideunet.fingerprint"


def write_table(path: Path, table: pd.DataFrame, fingerprint: str) -> None:
    """Write a table atomically as Parquet (zstd), with a fingerprint in the metadata of its schema."""
    columns = pa.Table.from_pandas(table, preserve_index=False)
    columns = columns.replace_schema_metadata({**(columns.schema.metadata or {}), _KEY: fingerprint.encode()})
    buffer = io.BytesIO()
    pq.write_table(columns, buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def table_fingerprint(path: Path) -> str | None:
    """Return the fingerprint that `write_table` left; None when there is no readable table."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return metadata.get(_KEY, b"").decode() or None
