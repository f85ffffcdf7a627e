"""What a job says: to its log file, to the terminal, and to Snakemake through its exit code."""

import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from slideunet.errors import SlideunetError

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
    except Exception as error:
        with path.open("a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        logging.error(f"{type(error).__name__}: {error}. This is a bug; the traceback is in {path}.")
        _leave(code_file, EXIT_CODE_BUG)


def _configure(path: Path) -> None:
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    logging.captureWarnings(True)


def _leave(code_file: Path, code: int) -> None:
    code_file.write_text(f"{code}\n")
    sys.exit(code)
