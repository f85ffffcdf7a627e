"""Convert the slides of a batch to OME-Zarr stores; those that are up to date are left alone."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask

from slideunet.batch import each_slide, finish_batch
from slideunet.images.conversion import Channels, convert, read_slide
from slideunet.images.omezarr import Version
from slideunet.logs import log_to


def main(
    *,
    rows: Sequence[Mapping[str, Any]],
    slides_folder: Path,
    manifest: Path,
    channels: Channels,
    ome_zarr: Version,
    threads: int = 1,
) -> None:
    """Convert every row to `slides_folder/{slide}.zarr` + `.json`, then write the batch manifest."""
    with dask.config.set(num_workers=threads):
        done = each_slide(
            {row["slide"]: row for row in rows},
            lambda slide, row: convert(
                read_slide(row), slides_folder / f"{slide}.json", channels=channels, version=ome_zarr
            ),
        )
    logging.info(f"{sum(done.values())} of {len(done)} slides converted, the others were up to date")
    finish_batch(manifest, slides_folder, done)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            rows=snakemake.params.rows,
            slides_folder=Path(snakemake.params.slides_folder),
            manifest=Path(snakemake.output.manifest),
            channels=snakemake.params.channels,
            ome_zarr=snakemake.params.ome_zarr,
            threads=snakemake.threads,
        )
