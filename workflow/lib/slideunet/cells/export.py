"""Measuring and exporting the cells of a slide block by block, in memory that has a bound.

A cell belongs to the block of its centre. Ids go by these blocks, so a block's cells are a range of ids, and
the blocks' parts joined in their order are the table of the slide.
"""

import functools
import gzip
import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from distributed import Client

from slideunet import __version__
from slideunet.cells.measurement import MEASUREMENT_VERSION, measure
from slideunet.cells.outlines import OUTLINES_VERSION, feature_lines, outlines, write_geojson
from slideunet.cells.tables import join_tables
from slideunet.clusters import work_through
from slideunet.fingerprint import fingerprint
from slideunet.images import stores
from slideunet.images.blocks import block_at, block_count
from slideunet.logs import progress_line


@dataclass(frozen=True)
class Task:
    """What a worker needs to measure a block: paths, and a folder for its part of the results."""

    image: Path
    prediction: Path
    folder: Path


def export_fingerprint(image: Path, prediction: Path) -> str:
    """Return the digest of all that the measurements of a slide depend on, given the manifests."""
    return fingerprint(
        slide=stores.read_manifest(image)["fingerprint"],
        cells=stores.read_manifest(prediction)["cells"]["fingerprint"],
        code=[__version__, MEASUREMENT_VERSION, OUTLINES_VERSION],
    )


def export_cells(
    image: Path, prediction: Path, table: Path, polygons: Path, known: str, client: Client | None = None
) -> None:
    """Write the table and the polygons of all cells of a slide.

    Parameters
    ----------
    image, prediction : Path
        Manifests.
    table, polygons : Path
        `.parquet` and `.geojson.gz`.
    known : str
        From `export_fingerprint`; the table carries it. An interrupted export with the same one goes on.
    client : distributed.Client, optional
        Whose workers do it; without one this process does.
    """
    facts = stores.read_manifest(image)
    folder = table.with_name(f".{table.name}.{known[:16]}.partial")
    for other in table.parent.glob(f".{table.name}.*.partial"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    count = block_count(facts["shape"])
    parts = [_part(folder, index) for index in range(count)]
    todo = [index for index in range(count) if not parts[index].is_file()]
    # Workers may have another working directory.
    task = Task(image.absolute(), prediction.absolute(), folder.absolute())
    with progress_line(len(todo), unit="block", label=facts["slide"]) as bar:
        for _ in work_through(client, todo, functools.partial(measure_block, task)):
            bar.update()
    # The table carries the fingerprint, so it goes last: where it is, the polygons are.
    table.unlink(missing_ok=True)
    write_geojson(polygons, _lines(folder, count))
    join_tables(table, parts, known)
    shutil.rmtree(folder)


def measure_block(task: Task, index: int) -> None:
    """Measure the cells whose centre lies in one block, and keep rows and polygons of them."""
    slide = _open(task.image, task.prediction, task.folder)
    facts = slide.facts
    window = _window(facts["shape"][1:], index, slide.cells["reach"])
    labels = _owned(slide.labels[window], slide.cells, index)
    window, labels = _cropped(window, labels)
    origin = (window[0].start, window[1].start)
    pixels, probability = slide.pixels[(slice(None), *window)], slide.probability[(slice(None), *window)][0]
    measured = measure(
        labels,
        pixels,
        probability,
        facts["channels"],
        facts["mpp"],
        facts["scale"],
        origin,
        tuple(facts["shape"][1:]),
    )
    traced = outlines(labels, facts["scale"], origin)
    text = "\n".join(feature_lines(facts["slide"], traced, measured))
    stores.write_atomically(_text(task.folder, index), gzip.compress(text.encode(), 1, mtime=0))
    stores.write_atomically(_part(task.folder, index), _parquet(measured))


@dataclass(frozen=True)
class _Slide:
    facts: Mapping[str, Any]
    cells: Mapping[str, Any]
    pixels: stores.StoredPixels
    labels: stores.StoredPixels
    probability: stores.StoredPixels


# Opening looks for every chunk: once per process and slide. The folder's name tells what is measured.
@functools.lru_cache(maxsize=1)
def _open(image: Path, prediction: Path, folder: Path) -> _Slide:
    return _Slide(
        stores.read_manifest(image),
        stores.read_manifest(prediction)["cells"],
        stores.open_image_store(image),
        stores.open_label_store(prediction, "cells"),
        stores.open_image_store(prediction),
    )


def _window(shape: tuple[int, ...], index: int, reach: int) -> tuple[slice, slice]:
    rows, columns = (
        slice(max(part.start - reach, 0), min(part.stop + reach, side))
        for part, side in zip(block_at(shape, index), shape, strict=True)
    )
    return rows, columns


def _owned(labels: np.ndarray, cells: Mapping[str, Any], index: int) -> np.ndarray:
    """Blank the cells of other blocks."""
    bounds = [*cells["first_ids"], cells["n_cells"] + 1]
    return np.where((labels >= bounds[index]) & (labels < bounds[index + 1]), labels, 0)


def _cropped(window: tuple[slice, slice], labels: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """Leave out the rows and columns around the cells; one pixel is left where there are none."""
    spans = [np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0)]
    inner = tuple(slice(int(s[0]), int(s[-1]) + 1) if len(s) else slice(0, 1) for s in spans)
    rows, columns = (
        slice(part.start + own.start, part.start + own.stop) for part, own in zip(window, inner, strict=True)
    )
    return (rows, columns), labels[inner]


def _part(folder: Path, index: int) -> Path:
    return folder / f"{index}.parquet"


def _text(folder: Path, index: int) -> Path:
    return folder / f"{index}.txt.gz"


def _lines(folder: Path, count: int) -> Iterator[str]:
    for index in range(count):
        with gzip.open(_text(folder, index), "rt", encoding="utf-8") as lines:
            yield from (line.rstrip("\n") for line in lines)


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()
