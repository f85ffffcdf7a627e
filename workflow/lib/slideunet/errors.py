"""The kinds of failure a user can meet, each with its exit code.

A message says in one sentence each: what and where, why, what to do.
"""

from collections.abc import Iterable


class SlideunetError(Exception):
    """A failure that is explained to the user by its message alone, without a traceback.

    Attributes
    ----------
    problems : tuple[str, ...]
        One message per problem; all that were found are kept together.
    """

    exit_code = 5

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class InputError(SlideunetError):
    """The user's configuration, sheet, image or labels are at fault (exit code 2)."""

    exit_code = 2


class DamagedDataError(SlideunetError):
    """A file of this workflow is missing, truncated or altered (exit code 3)."""

    exit_code = 3


class MachineError(SlideunetError):
    """Disk, memory, permission or a lock is at fault (exit code 4)."""

    exit_code = 4
