"""Cells as GeoJSON that QuPath reads: a gzipped FeatureCollection of detections, made part by part."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from isal import igzip

from slideunet.stores.files import replacing

# Of the compression, the highest: a third of the time of zlib's level 4, for files 1.03 times as large.
# Another kind of processor may pack to other bytes; what they unpack to is the same.
_LEVEL = 3


def feature_lines(slide: str, geometries: Sequence[str], table: pd.DataFrame) -> Iterator[str]:
    """Yield each cell as the text of a GeoJSON feature, a QuPath detection, in the order of the table.

    Parameters
    ----------
    slide : str
        Id of the slide; with the cell's id it makes the feature's UUID, the same in every run.
    geometries : sequence of str
        Of each cell, from `outlines`.
    table : DataFrame
        A row for each cell: `cell` and measurements. These are written with 7 significant digits, more than
        any has; true is 1. NaN and infinities, which JSON does not have, are left out.

    Raises
    ------
    ValueError
        When there are more or fewer geometries than cells.
    """
    if len(table) != len(geometries):
        raise ValueError(f"slide {slide}: {len(table)} measured cells and {len(geometries)} outlines")
    cells = table["cell"].tolist()
    names = _names(slide, cells)
    for cell, name, geometry, values in zip(cells, names, geometries, _measurements(table), strict=True):
        yield (
            f'{{"type":"Feature","id":"{name}","geometry":{geometry},"properties":{{"objectType":"detection",'
            f'"name":"cell {cell}","cell":{cell},"measurements":{{{values}}}}}}}'
        )


def packed(lines: Iterable[str], first: bool) -> bytes:
    """Compress features, each the text of one, to a part of the file.

    Parameters
    ----------
    lines : iterable of str
        From `feature_lines`.
    first : bool
        Whether no feature comes before them in the file.
    """
    text = ",\n".join(lines)
    return _gzipped(text if first or not text else ",\n" + text)


def write_geojson(path: Path, parts: Iterable[bytes]) -> None:
    """Write features as a gzipped GeoJSON FeatureCollection.

    The compressed parts are put one after the other: gzip files in a row are one gzip file (RFC 1952, 2.2).
    The bytes depend on the parts alone, and the file is whole or absent.

    Parameters
    ----------
    path : Path
        Ends in `.geojson.gz`.
    parts : iterable of bytes
        From `packed`; one is in memory at a time.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(_gzipped('{"type":"FeatureCollection","features":[\n'))
        file.writelines(parts)
        file.write(_gzipped("\n]}\n"))


def _gzipped(text: str) -> bytes:
    # Without a time in it equal cells give equal bytes.
    return igzip.compress(text.encode(), _LEVEL, mtime=0)


def _names(slide: str, cells: Iterable[int]) -> Iterator[str]:
    """Yield `uuid.uuid5(uuid.NAMESPACE_OID, "slideunet/SLIDE/CELL")` of each cell (RFC 9562), but faster."""
    common = hashlib.sha1(uuid.NAMESPACE_OID.bytes + f"slideunet/{slide}/".encode(), usedforsecurity=False)
    for cell in cells:
        own = common.copy()
        own.update(str(cell).encode())
        digits = own.hexdigest()
        variant = "89ab"[int(digits[16], 16) & 3]
        yield f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def _measurements(table: pd.DataFrame) -> Iterator[str]:
    """Yield the members of the object `measurements` of each row."""
    columns = table.drop(columns="cell")
    finite = np.isfinite(columns.to_numpy(np.float64))
    # What all cells lack is no reason to look at each of them.
    columns, finite = columns.loc[:, finite.any(axis=0)], finite[:, finite.any(axis=0)]
    members = [_member(name, dtype.kind) for name, dtype in columns.dtypes.items()]
    whole = ",".join(members)
    rows = zip(*(columns[name].tolist() for name in columns), strict=True)
    for row, complete, known in zip(rows, finite.all(axis=1).tolist(), finite, strict=True):
        if complete:
            yield whole % row
        else:
            yield ",".join(member % row[at] for at, member in enumerate(members) if known[at])


def _member(name: object, kind: str) -> str:
    """Return the format of one member: its name, and whole numbers in full, others to 7 digits."""
    return f"{json.dumps(name).replace('%', '%%')}:{'%d' if kind in 'bui' else '%.7g'}"
