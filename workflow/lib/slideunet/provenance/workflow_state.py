"""Git commit of the workflow, and what differs from it."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

CODE = ("Snakefile", "workflow", "envs")
_SECONDS = 20


@dataclass(frozen=True)
class WorkflowState:
    """Which code ran.

    Attributes
    ----------
    commit : str or None
        Git's hash; None if the workflow is no git checkout, or git is missing.
    changed : tuple of str or None
        Files of the code that differ from the commit, new ones included; None if unknown.
    """

    commit: str | None
    changed: tuple[str, ...] | None


def workflow_state(root: Path) -> WorkflowState:
    """Ask git for the state of the checkout `root`.

    A workflow that was unpacked inside another repository has no commit of its own.
    """
    top = _git(root, "rev-parse", "--show-toplevel", "HEAD").splitlines()
    if len(top) != 2 or Path(top[0]).resolve() != root.resolve():
        return WorkflowState(None, None)
    status = _git(root, "status", "--porcelain=v1", "-z", "--no-renames", "-uall", "--", *CODE)
    return WorkflowState(top[1], tuple(sorted(entry[3:] for entry in status.split("\0") if entry)))


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints; empty when there is no git or no repository."""
    # Inside a git hook, the variables name another repository. The index is not refreshed: it may be
    # read-only or in use.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return ""
