"""Compare this run with earlier ones on the slides that all of them have."""

import datetime
import logging
from collections.abc import Sequence
from pathlib import Path

from slideunet.comparison.comparison import compare_runs
from slideunet.comparison.write import result_lines, write_comparison
from slideunet.logs import log_to


def main(
    *, earlier: Sequence[Path], run: Path, page: Path, numbers: Path, command: str, date: str | None = None
) -> None:
    """Write comparison.html and comparison.json, and log the result.

    Parameters
    ----------
    earlier : sequence of Path
        Folders of earlier runs; the first is what all others, and this run as the last, are compared with.
    run : Path
        Folder of this run.
    page, numbers : Path
        Outputs.
    command : str
        Command that repeats the run.
    date : str or None
        None is today.
    """
    comparison = compare_runs([*earlier, run])
    date = date or datetime.date.today().isoformat()
    write_comparison(comparison, page, numbers, date=date, command=command)
    for line in result_lines(comparison):
        logging.info(line)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            # The folder of each summary, results/report/summary.json.
            earlier=[Path(path).parents[2] for path in snakemake.input.earlier],
            run=Path.cwd(),
            page=Path(snakemake.output.page),
            numbers=Path(snakemake.output.numbers),
            command=snakemake.params.command,
        )
