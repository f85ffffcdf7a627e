"""Write the cells of the slides of a batch in further formats, for other tools."""

import logging
from collections.abc import Sequence
from pathlib import Path

from slideunet.batch import counted, each_slide, read_batch
from slideunet.cells.export.ome_tiff import image_fingerprint, write_ome_tiff
from slideunet.logs import log_to
from slideunet.stores.manifests import is_current, read_manifest, write_manifest


def main(*, slides: Sequence[str], predictions_folder: Path, cells_folder: Path, manifest: Path) -> None:
    """Write `{slide}.ome.tif` for every slide, then the batch manifest.

    Parameters
    ----------
    slides : sequence of str
        The batch. A slide whose file carries the right fingerprint is passed over.
    predictions_folder : Path
        Where the manifests `{slide}.json` lie, beside their stores.
    cells_folder : Path
        Where the files go.
    manifest : Path
        Of the batch: the fingerprint of every slide's cells.
    """

    def share(slide: str, path: Path) -> bool:
        prediction = predictions_folder / f"{slide}.json"
        if is_current(path, read_manifest(prediction)["cells"]["fingerprint"], image_fingerprint):
            return False
        write_ome_tiff(prediction, path)
        return True

    done = each_slide({slide: cells_folder / f"{slide}.ome.tif" for slide in slides}, share)
    logging.info(counted(done, "written as label image"))
    write_manifest(manifest, {slide: image_fingerprint(cells_folder / f"{slide}.ome.tif") for slide in done})


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            slides=read_batch(Path(snakemake.input.cells)),
            predictions_folder=Path(snakemake.params.predictions_folder),
            cells_folder=Path(snakemake.params.cells_folder),
            manifest=Path(snakemake.output.manifest),
        )
