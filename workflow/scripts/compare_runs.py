"""Compare runs on the slides that all of them have; exit code 1 if one is worse by more than the margin."""

import argparse
import datetime
import math
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet.comparison.comparison import compare_runs
from slideunet.comparison.write import result_lines, write_comparison
from slideunet.errors import MachineError, as_command
from slideunet.logs import EXIT_CODE_BUG

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
    write_comparison(
        comparison,
        out / "comparison.html",
        out / "comparison.json",
        date=date or datetime.date.today().isoformat(),
        command=_command(run, split, metric, margin),
    )
    print("\n".join([*result_lines(comparison), f"{out / 'comparison.html'}"]))
    return comparison.passed


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
