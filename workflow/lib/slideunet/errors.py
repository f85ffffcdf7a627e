"""Errors for users, each with its exit code.

A message has one sentence each on what and where, why, and what to do.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator


class SlideunetError(Exception):
    """A failure that its messages `problems` explain without a traceback."""

    exit_code = 5

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class InputError(SlideunetError):
    """Faulty configuration, sheet, image or labels of the user (exit code 2)."""

    exit_code = 2


class DamagedDataError(SlideunetError):
    """A missing, truncated or altered file of this workflow (exit code 3)."""

    exit_code = 3


class MachineError(SlideunetError):
    """A failure of disk, memory, permission or a lock (exit code 4)."""

    exit_code = 4


@contextlib.contextmanager
def collected(problems: list[str], kind: type[SlideunetError] = InputError) -> Iterator[None]:
    """Add the problems of a block that ends with an error of this kind to a list, instead of raising it."""
    try:
        yield
    except kind as error:
        problems.extend(error.problems)


@contextlib.contextmanager
def as_command() -> Iterator[None]:
    """End a command for users with the problems on stderr and the exit code of the error of its block."""
    try:
        yield
    except SlideunetError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
