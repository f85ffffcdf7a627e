"""The files of a comparison, and its result in words."""

import json
from collections import defaultdict
from pathlib import Path

from slideunet import __version__
from slideunet.comparison.comparison import Comparison, comparison_json
from slideunet.comparison.page import render_comparison
from slideunet.comparison.runs import in_short
from slideunet.stores.files import write_atomically


def write_comparison(comparison: Comparison, page: Path, numbers: Path, *, date: str, command: str) -> None:
    """Write the page (HTML) and the numbers (JSON); neither is written when a picture cannot be drawn.

    Parameters
    ----------
    comparison : Comparison
    page, numbers : Path
        Earlier files are replaced.
    date, command : str
        As printed; `command` repeats the comparison.
    """
    text = render_comparison(comparison, date=date, command=command, version=__version__)
    content = json.dumps(comparison_json(comparison), indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(numbers, content + "\n")
    write_atomically(page, text)


def result_lines(comparison: Comparison) -> list[str]:
    """Say in a line per run what was found, before it what a reader should know."""
    lines = [*comparison.notes]
    unpaired = defaultdict(list)
    for entry in comparison.unpaired:
        unpaired[entry.run, entry.reason].append(entry.slide)
    lines += [f"Not compared: {run}'s {in_short(ids)} ({reason})." for (run, reason), ids in unpaired.items()]
    return lines + [_line(comparison, run.name) for run in comparison.runs[1:]]


def _line(comparison: Comparison, run: str) -> str:
    found = comparison.judged(run)
    interval = (
        f" (95 % interval {found.interval[0]:+.4f} to {found.interval[1]:+.4f})" if found.interval else ""
    )
    line = (
        f"{run} - {comparison.runs[0].name}: {found.metric} {found.difference:+.4f}{interval}, "
        f"{found.n_slides} slides of {found.n_groups} groups"
    )
    verdict = next((verdict for verdict in comparison.verdicts if verdict.run == run), None)
    if verdict is None:
        return line
    by = "" if verdict.judged_by == "interval" else ", judged by the difference alone"
    return f"{line}; {'not worse' if verdict.passed else 'may be WORSE'} by more than {verdict.margin:g}{by}"
