"""Draw the demo cohort: every image and label file that the demo's sample sheet names."""

import logging
from pathlib import Path

from slideunet.demo.cohort import read_demo_sheet, write_demo_slide
from slideunet.logs import log_to


def main(*, sheet: Path) -> None:
    """Draw the slides of a sheet.

    Parameters
    ----------
    sheet : Path
        Sample sheet of a demo cohort; the files it names are written, relative to the sheet.
    """
    slides = read_demo_sheet(sheet)
    for slide in slides:
        write_demo_slide(slide)
    logging.info(f"Drew {len(slides)} slides of {sheet}.")


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(sheet=Path(snakemake.input.sheet))
