"""Measure and export the cells of the slides of a batch: a table and polygons."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slideunet.batch import counted, each_slide, read_batch
from slideunet.cells.export.export_slide import export_cells, export_fingerprint
from slideunet.cells.export.parquet import table_fingerprint
from slideunet.clusters import Workers
from slideunet.logs import log_to
from slideunet.stores.manifests import is_current, read_manifest, write_manifest


def main(
    *,
    slides: Sequence[str],
    slides_folder: Path,
    predictions_folder: Path,
    cells_folder: Path,
    manifest: Path,
    dask: Mapping[str, Any],
    threads: int = 1,
    memory_mb: int = 4000,
) -> None:
    """Write `{slide}.parquet` and `{slide}.geojson.gz` for every slide, then the batch manifest.

    Parameters
    ----------
    slides : sequence of str
        The batch. A slide whose table carries the right fingerprint is not measured again.
    slides_folder, predictions_folder : Path
        Where the manifests `{slide}.json` lie, beside their stores.
    cells_folder : Path
        Where tables and polygons go.
    manifest : Path
        Of the batch: the fingerprint of every slide's table.
    dask : mapping
        This section of the configuration.
    threads, memory_mb : int
        What this job may use.
    """
    with Workers(dask, threads, memory_mb) as workers:

        def measure_slide(slide: str, table: Path) -> bool:
            image, prediction = slides_folder / f"{slide}.json", predictions_folder / f"{slide}.json"
            polygons = table.with_suffix(".geojson.gz")
            wanted = export_fingerprint(image, prediction)
            if is_current(table, wanted, table_fingerprint, beside=[polygons]):
                return False
            client = workers.client_for(read_manifest(image)["shape"])
            export_cells(image, prediction, table, polygons, wanted, client)
            return True

        done = each_slide({slide: cells_folder / f"{slide}.parquet" for slide in slides}, measure_slide)
    logging.info(counted(done, "measured"))
    write_manifest(manifest, {slide: table_fingerprint(cells_folder / f"{slide}.parquet") for slide in done})


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            slides=read_batch(Path(snakemake.input.cells)),
            slides_folder=Path(snakemake.params.slides_folder),
            predictions_folder=Path(snakemake.params.predictions_folder),
            cells_folder=Path(snakemake.params.cells_folder),
            manifest=Path(snakemake.output.manifest),
            dask=snakemake.params.dask,
            threads=snakemake.threads,
            memory_mb=snakemake.resources.mem_mb,
        )
