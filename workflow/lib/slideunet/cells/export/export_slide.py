"""Measuring and exporting the cells of a slide block by block, in memory that has a bound.

A cell belongs to the block of its centre. Ids go by these blocks, so a block's cells are a range of ids, and
the blocks' parts joined in their order are the table of the slide. Neighbours are counted when all blocks are
measured: then the centres in the blocks around are known.

.S1.parquet.3f2a….partial    unfinished work, see `stores.resumable`
7.cells, 7.centres           table and outlines of block 7, without its neighbours; centres of its cells
7.parquet, 7.gz              its parts of the table and of the GeoJSON
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slideunet import __version__
from slideunet.cells.export.geojson_writer import feature_lines, packed, write_geojson
from slideunet.cells.export.outlines import OUTLINES_VERSION, outlines
from slideunet.cells.export.parquet import join_tables
from slideunet.cells.measurement.measure import MEASUREMENT_VERSION, measure_regions
from slideunet.cells.measurement.neighbours import count_neighbours, radius
from slideunet.cells.measurement.regions import find_regions, groups
from slideunet.clusters import record_blocks
from slideunet.geometry.blocks import BlockGrid, Region, grown
from slideunet.geometry.runs import Runs, runs_of
from slideunet.slides.slide_image import open_slide_image
from slideunet.sources.white import white_of
from slideunet.stores import files, manifests, verified
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.resumable import working

if TYPE_CHECKING:
    from distributed import Client

_GEOMETRY = "geometry"  # Of a block's cells, beside their measurements, until the GeoJSON is written.
_FINISHED = {"finished": True}
_PARTS = 2  # Raise when the files of blocks are others: then no unfinished export goes on.


@dataclass(frozen=True)
class ExportTask:
    """What a worker needs to measure a block: paths, and a folder for its part of the results."""

    image: Path
    prediction: Path
    folder: Path

    def part(self, index: int, kind: str) -> Path:
        """Return the file of a block: "cells", "centres", "parquet" or "gz"."""
        return self.folder / f"{index}.{kind}"


def export_fingerprint(image: Path, prediction: Path) -> str:
    """Return the digest of all that the measurements of a slide depend on, given the manifests."""
    facts = manifests.read_manifest(image)
    white = white_of(facts)
    # Tables whose white was the largest value of the type, as in earlier versions, stay current.
    own = {} if white is None or white == np.iinfo(facts["dtype"]).max else {"white": white}
    return fingerprint(
        slide=facts["fingerprint"],
        cells=manifests.read_manifest(prediction)["cells"]["fingerprint"],
        code=[__version__, MEASUREMENT_VERSION, OUTLINES_VERSION],
        **own,
    )


def export_cells(
    image: Path, prediction: Path, table: Path, polygons: Path, known: str, client: "Client | None" = None
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
    facts = manifests.read_manifest(image)
    blocks = range(len(BlockGrid(facts["shape"])))
    hidden = table.with_name(f".{table.name}")
    create = partial(Path.mkdir, parents=True)
    with working(
        hidden, fingerprint(result=known, parts=_PARTS), create, lock=hidden.with_name(f"{hidden.name}.lock")
    ) as work:
        # Workers may have another working directory.
        task = ExportTask(image.absolute(), prediction.absolute(), work.path.absolute())
        record = partial(record_blocks, work, client, slide=facts["slide"])
        record(work.todo(blocks), partial(measure_block, task))
        record([block for block in blocks if work.done[block] != _FINISHED], partial(finish_block, task))
        # The table carries the fingerprint, so it goes last: where it is, the polygons are.
        table.unlink(missing_ok=True)
        write_geojson(polygons, (task.part(block, "gz").read_bytes() for block in blocks))
        join_tables(table, [task.part(block, "parquet") for block in blocks], known)
        shutil.rmtree(work.path)


def measure_block(task: ExportTask, index: int) -> dict[str, bool]:
    """Measure and outline the cells whose centre lies in one block."""
    slide = SlideOfCells.of(task)
    shape = tuple(slide.facts["shape"][1:])
    window = grown(BlockGrid(shape)[index], shape, slide.cells["reach"])
    rows = _measured(
        slide, *_cropped(window, _owned(runs_of(slide.labels[window]), slide.cells, index)), shape
    )
    with files.replacing(task.part(index, "centres")) as path, path.open("wb") as file:
        np.save(file, rows[["y", "x"]].to_numpy())
    _write_table(task.part(index, "cells"), rows)
    return {}


def finish_block(task: ExportTask, index: int) -> dict[str, bool]:
    """Count the neighbours of the cells of one block, and keep the block's parts of table and GeoJSON."""
    facts = SlideOfCells.of(task).facts
    reach = radius(facts["mpp"])
    near = BlockGrid(facts["shape"]).neighbours(index, reach)
    around = [np.load(task.part(block, "centres")) for block in near if block != index]
    rows = pd.read_parquet(task.part(index, "cells"))
    geometries = rows.pop(_GEOMETRY).tolist()
    centres = rows[["y", "x"]].to_numpy() / facts["scale"]
    others = np.concatenate([np.zeros((0, 2)), *around]) / facts["scale"]
    rows["neighbours"] = count_neighbours(centres, others, reach)
    lines = feature_lines(facts["slide"], geometries, rows)
    is_first = bool((rows["cell"] == 1).any())
    files.write_atomically(task.part(index, "gz"), packed(lines, is_first))
    _write_table(task.part(index, "parquet"), rows)
    return _FINISHED


@dataclass(frozen=True)
class SlideOfCells:
    """A slide with its prediction and its cells, open for reading."""

    facts: Mapping[str, Any]
    cells: Mapping[str, Any]
    pixels: verified.StoredPixels
    labels: verified.StoredPixels
    probability: verified.StoredPixels

    @classmethod
    @lru_cache(maxsize=1)
    def of(cls, task: ExportTask) -> "SlideOfCells":
        """Open what a task needs, once per process and slide: opening looks for every chunk."""
        return cls(
            manifests.read_manifest(task.image),
            manifests.read_manifest(task.prediction)["cells"],
            open_slide_image(task.image),
            verified.open_label_store(task.prediction, "cells"),
            verified.open_image_store(task.prediction),
        )


def _measured(slide: SlideOfCells, window: Region, runs: Runs, shape: tuple[int, ...]) -> pd.DataFrame:
    """Measure and outline the cells of a window of a slide, some at a time."""
    facts, origin = slide.facts, (window[0].start, window[1].start)
    image, probability = slide.pixels[:, *window], slide.probability[:, *window][0]
    grid = (facts["mpp"], facts["scale"], origin, shape, white_of(facts))
    tables = []
    for regions in map(find_regions, groups(runs)):
        rows = measure_regions(regions, image, probability, facts["channels"], *grid)
        rows[_GEOMETRY] = outlines(regions, facts["scale"], origin)
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def _owned(runs: Runs, cells: Mapping[str, Any], index: int) -> Runs:
    """Leave out the cells of other blocks."""
    bounds = [*cells["first_ids"], cells["n_cells"] + 1]
    return runs.chosen((runs.labels >= bounds[index]) & (runs.labels < bounds[index + 1]))


def _cropped(window: Region, runs: Runs) -> tuple[Region, Runs]:
    """Leave out the rows and columns around the cells; one pixel is left where there are none."""
    inner = runs.box() if len(runs.labels) else (slice(0, 1), slice(0, 1))
    rows, columns = (
        slice(part.start + own.start, part.start + own.stop) for part, own in zip(window, inner, strict=True)
    )
    return (rows, columns), runs.inside(inner)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with files.replacing(path) as partial_file:
        table.to_parquet(partial_file, index=False)
