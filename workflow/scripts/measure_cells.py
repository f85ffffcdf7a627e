"""Measure and export the cells of the slides of a batch: a table and polygons."""

import logging
from collections.abc import Sequence
from pathlib import Path

from slideunet import __version__
from slideunet.batch import each_slide
from slideunet.cells.measurement import MEASUREMENT_VERSION, measure
from slideunet.cells.outlines import OUTLINES_VERSION, outlines, write_geojson
from slideunet.cells.tables import table_fingerprint, write_table
from slideunet.fingerprint import fingerprint
from slideunet.images.stores import open_image_store, open_label_store, read_manifest, write_manifest
from slideunet.logs import log_to


def main(
    *,
    slides: Sequence[str],
    slides_folder: Path,
    predictions_folder: Path,
    cells_folder: Path,
    manifest: Path,
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
    """

    def measure_slide(slide: str, table: Path) -> bool:
        image, prediction = slides_folder / f"{slide}.json", predictions_folder / f"{slide}.json"
        polygons = table.with_suffix(".geojson.gz")
        facts = read_manifest(image)
        wanted = fingerprint(
            slide=facts["fingerprint"],
            cells=read_manifest(prediction)["cells"]["fingerprint"],
            code=[__version__, MEASUREMENT_VERSION, OUTLINES_VERSION],
        )
        if polygons.is_file() and table_fingerprint(table) == wanted:
            return False
        cells = open_label_store(prediction, "cells")[:]
        pixels, probability = open_image_store(image)[:], open_image_store(prediction)[0]
        measured = measure(cells, pixels, probability, facts["channels"], facts["mpp"], facts["scale"])
        # The table carries the fingerprint, so it goes last: where it is, the polygons are.
        table.unlink(missing_ok=True)
        write_geojson(polygons, slide, outlines(cells, facts["scale"]), measured)
        write_table(table, measured, wanted)
        return True

    done = each_slide({slide: cells_folder / f"{slide}.parquet" for slide in slides}, measure_slide)
    logging.info(f"Cells of {sum(done.values())} of {len(done)} slides measured, the others were up to date")
    write_manifest(manifest, {slide: table_fingerprint(cells_folder / f"{slide}.parquet") for slide in done})


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            slides=snakemake.params.slides,
            slides_folder=Path(snakemake.params.slides_folder),
            predictions_folder=Path(snakemake.params.predictions_folder),
            cells_folder=Path(snakemake.params.cells_folder),
            manifest=Path(snakemake.output.manifest),
        )
