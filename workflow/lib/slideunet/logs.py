"""What a job says: to its log file, to the terminal, and to Snakemake through its exit code."""

import contextlib
import errno
import io
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from slideunet.errors import MachineError, SlideunetError

EXIT_CODE_BUG = 5


@contextlib.contextmanager
def log_to(path: str | Path) -> Iterator[None]:
    """Log to a file and to the terminal, and end the process with the exit code of what went wrong.

    A `SlideunetError` prints its messages only. Anything else is a bug: its traceback goes to the log
    file, the terminal gets one line that says where to look. The exit code is left in `<path>.exit`
    too, because Snakemake itself does not pass on the exit code of a job.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    code_file = path.with_name(path.name + ".exit")
    code_file.unlink(missing_ok=True)
    _configure(path)
    try:
        yield
    except SlideunetError as error:
        for problem in error.problems:
            logging.error(problem)
        _leave(code_file, error.exit_code)
    except (MemoryError, OSError) as error:
        _trace(path)
        logging.error(
            f"{type(error).__name__}: {error}. {_machine_remedy(error)} The traceback is in {path}."
        )
        _leave(code_file, MachineError.exit_code)
    except Exception as error:
        _trace(path)
        logging.error(f"{type(error).__name__}: {error}. This is a bug; the traceback is in {path}.")
        _leave(code_file, EXIT_CODE_BUG)


def progress_line(total: int, *, unit: str, done: int = 0, label: str | None = None) -> tqdm:
    """Return a progress bar that writes a line about amount, time left and speed every ten seconds.

    Parameters
    ----------
    total, done : int
        In units; `done` is what an earlier run has finished.
    unit : str
        E.g. "step" or "px".
    label : str, optional
        What it is about.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit=unit,
        unit_scale=unit == "px",
        mininterval=10.0,
        # A batch of small slides says nothing of each.
        delay=10.0,
        file=_LogLines(),
        ncols=120,
        ascii=" =",
    )


class _LogLines(io.TextIOBase):
    """A file that turns tqdm's line, which is written over and over, into lines of the log.

    Snakemake passes on the output of a job line by line, so nothing else would be seen while it runs.
    """

    def write(self, text: str) -> int:
        if text.strip():
            logging.info(text.strip())
        return len(text)


def _configure(path: Path) -> None:
    path.unlink(missing_ok=True)
    # Appending, because a traceback is appended beside it: "w" would write over it.
    to_file = logging.FileHandler(path, mode="a", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    logging.captureWarnings(True)


def _trace(path: Path) -> None:
    with path.open("a", encoding="utf-8") as log:
        traceback.print_exc(file=log)


def _machine_remedy(error: MemoryError | OSError) -> str:
    """Say what to do about a machine that lacks something."""
    if isinstance(error, MemoryError):
        return "The memory was not enough. Run with more, or with fewer jobs at once (--cores)."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "The disk is full. Nothing that was finished is lost: free space and run the same command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Permission is missing. Correct it and run the same command again."
    return "The machine refused it. Correct the cause and run the same command again."


def _leave(code_file: Path, code: int) -> None:
    code_file.write_text(f"{code}\n")
    sys.exit(code)
