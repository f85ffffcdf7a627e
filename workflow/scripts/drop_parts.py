"""Remove what data.keep does not name, for the slides of one or several batches."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from slideunet.batch import read_batch
from slideunet.logs import log_to
from slideunet.stores.dropping import drop_parts
from slideunet.stores.kept import IN_PREDICTION
from slideunet.stores.manifests import write_manifest

_TOLD_BY = {
    "maps": "predict_*.json",
    "predictions": "predict_*.json",
    "labels": "label_cells.json",
    "cells": "measure_cells.json",
}


def main(
    *,
    batches: Sequence[Path],
    parts: Collection[str],
    predictions_folder: Path,
    cells_folder: Path,
    manifest: Path,
) -> None:
    """Remove parts of predictions, and tables with outlines, then write the manifest of what is gone.

    Parameters
    ----------
    batches : sequence of Path
        Manifests of the converted slides; a slide without a prediction is passed over. Beside them lie those
        by which Snakemake knows that the parts are there.
    parts : collection of str
        Of `kept.KEEPABLE`, without the slides, whose pixels are not copied in the first place.
    predictions_folder, cells_folder : Path
        Where the manifests `{slide}.json` lie, beside their stores; tables and outlines.
    manifest : Path
    """
    # First, should this be killed: a run that ended before Snakemake removed them left them here.
    for told in (path for batch in batches for part in parts for path in batch.parent.glob(_TOLD_BY[part])):
        told.unlink()
    removed, slides = 0, [slide for batch in batches for slide in read_batch(batch)]
    for slide in slides:
        prediction = predictions_folder / f"{slide}.json"
        if prediction.is_file():
            removed += drop_parts(prediction, [part for part in parts if part in IN_PREDICTION])
        if "cells" in parts:
            for ending in ("parquet", "geojson.gz"):
                (cells_folder / f"{slide}.{ending}").unlink(missing_ok=True)
    logging.info(f"Dropped of {len(slides)} slides: {', '.join(parts)}; {removed} had them still")
    write_manifest(manifest, {"slides": list(slides), "dropped": list(parts)})


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            batches=[Path(batch) for batch in snakemake.input.slides],
            parts=snakemake.params.parts,
            predictions_folder=Path(snakemake.params.predictions_folder),
            cells_folder=Path(snakemake.params.cells_folder),
            manifest=Path(snakemake.output.manifest),
        )
