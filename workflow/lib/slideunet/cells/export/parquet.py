"""The table of cells as a Parquet file that says what it was made from."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from slideunet.stores.files import replacing

_KEY = b"slideunet.fingerprint"


def join_tables(path: Path, parts: Iterable[Path], fingerprint: str) -> None:
    """Write the rows of several Parquet files as one, with a fingerprint in the metadata of its schema.

    Parameters
    ----------
    path : Path
        Whole or absent; compressed with zstd.
    parts : iterable of Path
        Of the same columns, in the order of their rows; one is in memory at a time.
    fingerprint : str
    """
    paths = list(parts)
    schema = pq.read_schema(paths[0])
    schema = schema.with_metadata({**(schema.metadata or {}), _KEY: fingerprint.encode()})
    with replacing(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for part in paths:
            rows = pq.read_table(part)
            if rows.num_rows or len(paths) == 1:
                writer.write_table(rows.replace_schema_metadata(schema.metadata))


def table_fingerprint(path: Path) -> str | None:
    """Return the fingerprint that `write_table` left; None when there is no readable table."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return metadata.get(_KEY, b"").decode() or None
