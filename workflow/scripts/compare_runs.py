"""Compare runs on the slides that all of them have; exit code 1 if one is worse by more than the margin."""

import argparse
import datetime
import json
import math
import shlex
import sys
import traceback
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet import __version__
from slideunet.comparison.comparison import Comparison, compare_runs, comparison_json
from slideunet.comparison.page import render_comparison
from slideunet.comparison.runs import in_short
from slideunet.errors import MachineError, as_command
from slideunet.logs import EXIT_CODE_BUG
from slideunet.stores.files import write_atomically

WORSE = 1


def main(
    *,
    run: Sequence[Path],
    out: Path,
    split: str = "test",
    metric: str = "ap50",
    margin: float | None = None,
    date: str | None = None,
) -> bool | None:
    """Write comparison.html and comparison.json, and print the result.

    Parameters
    ----------
    run : sequence of Path
        Folders in which the workflow ran; all others are compared with the first.
    out : Path
        Folder; earlier files of the same names are replaced.
    split, metric, margin
        See `comparison.compare_runs`.
    date : str or None
        None is today.

    Returns
    -------
    bool or None
        Whether no run is worse than the first by more than the margin; None without a margin.
    """
    comparison = compare_runs(run, split=split, metric=metric, margin=margin)
    page = render_comparison(
        comparison,
        date=date or datetime.date.today().isoformat(),
        command=_command(run, split, metric, margin),
        version=__version__,
    )
    content = json.dumps(comparison_json(comparison), indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(out / "comparison.json", content + "\n")
    write_atomically(out / "comparison.html", page)
    print("\n".join([*_lines(comparison), f"{out / 'comparison.html'}"]))
    return comparison.passed


def _lines(comparison: Comparison) -> list[str]:
    """Say in a line per run what was found, before it what a reader should know."""
    lines = [*comparison.notes]
    unpaired = defaultdict(list)
    for entry in comparison.unpaired:
        unpaired[entry.run, entry.reason].append(entry.slide)
    lines += [f"Not compared: {run}'s {in_short(ids)} ({reason})." for (run, reason), ids in unpaired.items()]
    verdicts = {verdict.run: verdict for verdict in comparison.verdicts}
    for run in comparison.runs[1:]:
        found = comparison.judged(run.name)
        interval = (
            f" (95 % interval {found.interval[0]:+.4f} to {found.interval[1]:+.4f})" if found.interval else ""
        )
        line = (
            f"{run.name} - {comparison.runs[0].name}: {found.metric} {found.difference:+.4f}{interval}, "
            f"{found.n_slides} slides of {found.n_groups} groups"
        )
        if verdict := verdicts.get(run.name):
            by = "" if verdict.judged_by == "interval" else ", judged by the difference alone"
            line += (
                f"; {'not worse' if verdict.passed else 'may be WORSE'} by more than {verdict.margin:g}{by}"
            )
        lines.append(line)
    return lines


def _command(run: Sequence[Path], split: str, metric: str, margin: float | None) -> str:
    options = [f"--run={path}" for path in run] + [f"--split={split}", f"--metric={metric}"]
    options += [] if margin is None else [f"--margin={margin:g}"]
    return shlex.join(["python", "workflow/scripts/compare_runs.py", *options, "--out=comparison"])


def _margin(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError
    return value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", type=Path, action="append", required=True, help="folder of a run; give two or more"
    )
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="folder (default: %(default)s)")
    parser.add_argument("--split", default="test", choices=("test", "val", "train", "predict"))
    parser.add_argument(
        "--metric", default="ap50", help="mean over slides as in metrics.csv, or pooled_ap50 (%(default)s)"
    )
    parser.add_argument("--margin", type=_margin, help="how much worse a run may be, e.g. 0.01")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        with as_command():
            passed = main(**vars(_arguments()))
    except (MemoryError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(MachineError.exit_code)
    except Exception:
        # Python's own code for this is 1, which here says that a run is worse.
        traceback.print_exc()
        sys.exit(EXIT_CODE_BUG)
    sys.exit(WORSE if passed is False else 0)
