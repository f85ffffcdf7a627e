"""Convert the slides of a batch to OME-Zarr stores; those that are up to date are left alone."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slideunet import quarantine
from slideunet.batch import counted, each_slide, finish_batch
from slideunet.errors import DamagedDataError, InputError
from slideunet.inputs.sheet import learned_slides, load_sheet
from slideunet.logs import log_to
from slideunet.slides.convert import ConversionPlan, convert, read_slide


def main(
    *,
    sheet: Path,
    slides: Sequence[str],
    training: bool,
    slides_folder: Path,
    manifest: Path,
    plan: ConversionPlan,
    quarantine_folder: Path,
    threads: int = 1,
) -> None:
    """Convert the slides of a batch to `slides_folder/{slide}.zarr` + `.json`, then write the batch manifest.

    `sheet` is the one that check_inputs has written. A slide that cannot be converted is excluded, unless
    `training` needs it.
    """
    rows = load_sheet(sheet)
    required = learned_slides(rows) if training else []
    usable = set(slides) - quarantine.read(quarantine_folder).keys()
    batch: dict[str, Mapping[Any, Any]] = {
        row["slide"]: row for row in rows.to_dict("records") if row["slide"] in usable
    }

    def convert_one(slide: str, row: Mapping[Any, Any]) -> bool:
        try:
            return convert(read_slide(row), plan, slides_folder / f"{slide}.json", threads)
        except (InputError, DamagedDataError) as error:
            if slide in required:
                raise
            logging.warning(f"slide {slide} is excluded: {error}")
            quarantine.put(quarantine_folder, slide, error)
            return False

    done = each_slide(batch, convert_one)
    excluded = quarantine.read(quarantine_folder)
    converted = [slide for slide in done if slide not in excluded]
    left_out = len(slides) - len(converted)
    line = counted({slide: done[slide] for slide in converted}, "converted")
    logging.info(f"{line}, {left_out} excluded" if left_out else line)
    finish_batch(manifest, slides_folder, converted)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            sheet=Path(snakemake.input.sheet),
            slides=snakemake.params.slides,
            training=snakemake.params.training,
            slides_folder=Path(snakemake.params.slides_folder),
            manifest=Path(snakemake.output.manifest),
            plan=ConversionPlan(
                channels=snakemake.params.channels,
                mpp=snakemake.params.mpp,
                ignore_label=snakemake.params.ignore_label,
                background_label=snakemake.params.background_label,
                truth=snakemake.params.truth,
                outline=snakemake.params.outline,
                version=snakemake.params.ome_zarr,
                keep_pixels=snakemake.params.keep_pixels,
            ),
            quarantine_folder=Path(snakemake.params.quarantine_folder),
            threads=snakemake.threads,
        )
