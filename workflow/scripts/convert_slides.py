"""Convert the slides of a batch to OME-Zarr stores; those that are up to date are left alone."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from slideunet import quarantine
from slideunet.batch import each_slide, finish_batch
from slideunet.errors import DamagedDataError, InputError
from slideunet.logs import log_to
from slideunet.slides.convert import ConversionPlan, convert, read_slide


def main(
    *,
    rows: Sequence[Mapping[str, Any]],
    slides_folder: Path,
    manifest: Path,
    plan: ConversionPlan,
    required: Collection[str],
    quarantine_folder: Path,
    threads: int = 1,
) -> None:
    """Convert every row to `slides_folder/{slide}.zarr` + `.json`, then write the batch manifest.

    A slide that cannot be converted is set aside, unless it is one of `required`.
    """
    usable = [row for row in rows if row["slide"] not in quarantine.read(quarantine_folder)]

    def convert_one(slide: str, row: Mapping[str, Any]) -> bool:
        try:
            return convert(read_slide(row), plan, slides_folder / f"{slide}.json", threads)
        except (InputError, DamagedDataError) as error:
            if slide in required:
                raise
            logging.warning(f"slide {slide} is set aside: {error}")
            quarantine.put(quarantine_folder, slide, error)
            return False

    done = each_slide({row["slide"]: row for row in usable}, convert_one)
    aside = quarantine.read(quarantine_folder)
    converted = [slide for slide in done if slide not in aside]
    logging.info(
        f"{sum(done.values())} of {len(rows)} slides converted, {len(rows) - len(converted)} set aside, the "
        "others were up to date"
    )
    finish_batch(manifest, slides_folder, converted)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            rows=snakemake.params.rows,
            slides_folder=Path(snakemake.params.slides_folder),
            manifest=Path(snakemake.output.manifest),
            plan=ConversionPlan(
                channels=snakemake.params.channels,
                mpp=snakemake.params.mpp,
                shrink_by=snakemake.params.shrink_by,
                ignore_label=snakemake.params.ignore_label,
                version=snakemake.params.ome_zarr,
            ),
            required=snakemake.params.required,
            quarantine_folder=Path(snakemake.params.quarantine_folder),
            threads=snakemake.threads,
        )
