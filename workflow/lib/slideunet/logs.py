"""Logging of a job to file and terminal, and its exit code."""

import contextlib
import errno
import gc
import io
import logging
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from slideunet.errors import MachineError, SlideunetError

EXIT_CODE_BUG = 5
LINE_SECONDS = 10.0
_Item = TypeVar("_Item")


@contextlib.contextmanager
def log_to(path: str | Path) -> Iterator[None]:
    """Log to a file and to the terminal, and exit with the code of the failure.

    A `SlideunetError` prints its messages only. Other exceptions write a traceback to the log file and one
    line to the terminal. The exit code is also written to `<path>.exit`, because Snakemake does not report
    the exit codes of its jobs.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    code_file = path.with_name(path.name + ".exit")
    code_file.unlink(missing_ok=True)
    _configure(path)
    # What the imports have made lives as long as the job: the collector would only visit it, several times at
    # the exit, for a quarter of the time that a job takes to start.
    gc.freeze()
    try:
        yield
    except SlideunetError as error:
        for problem in error.problems:
            logging.error(problem)
        _exit(code_file, error.exit_code)
    except (MemoryError, OSError) as error:
        _append_traceback(path)
        logging.error(
            f"{type(error).__name__}: {error}. {_machine_remedy(error)} The traceback is in {path}."
        )
        _exit(code_file, MachineError.exit_code)
    except Exception as error:
        _append_traceback(path)
        logging.error(f"{type(error).__name__}: {error}. This is a bug; the traceback is in {path}.")
        _exit(code_file, EXIT_CODE_BUG)


def progress_line(total: int, *, unit: str, done: int = 0, label: str | None = None) -> tqdm:
    """Return a progress bar that logs progress, remaining time and speed every ten seconds.

    Parameters
    ----------
    total, done : int
        Units in total, and those finished by an earlier run.
    unit : str
        E.g. "step" or "px".
    label : str, optional
        Start of each line.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit=unit,
        unit_scale=unit == "px",
        mininterval=10.0,
        delay=10.0,  # no lines for small slides
        file=_LogLines(),
        ncols=120,
        ascii=" =",
    )


class _LogLines(io.TextIOBase):
    """A file that logs each state of tqdm's overwritten line, because Snakemake shows whole lines only."""

    def write(self, text: str) -> int:
        if text.strip():
            logging.info(text.strip())
        return len(text)


def _configure(path: Path) -> None:
    path.unlink(missing_ok=True)
    # Mode "w" would overwrite a traceback, which another handle appends.
    to_file = logging.FileHandler(path, mode="a", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    logging.captureWarnings(True)


def _append_traceback(path: Path) -> None:
    with path.open("a", encoding="utf-8") as log:
        traceback.print_exc(file=log)


def _machine_remedy(error: MemoryError | OSError) -> str:
    """Suggest a remedy for an error of the operating system."""
    if isinstance(error, MemoryError):
        return "Memory ran out. Run with more memory, or with fewer parallel jobs (--cores)."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full. Finished work is kept: free space and rerun the same command."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Permission is missing. Grant it and rerun the same command."
    return "The operating system reported an error. Fix it and rerun the same command."


def _exit(code_file: Path, code: int) -> None:
    code_file.write_text(f"{code}\n")
    sys.exit(code)


def with_lines(items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
    """Yield items, and log their number every ten seconds."""
    last = time.perf_counter()
    for number, item in enumerate(items, start=1):
        yield item
        if time.perf_counter() - last >= LINE_SECONDS:
            logging.info(f"{what}: {number} of {total}")
            last = time.perf_counter()
