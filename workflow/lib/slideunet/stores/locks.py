"""One writer at a time: a lock that the system takes back when its owner dies, however it dies."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from slideunet.errors import MachineError

PATIENCE = 20.0  # Seconds: the workers of a run that was killed are gone by then.
_EVERY = 0.2
_NOT_SUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, patience: float | None = None) -> Iterator[None]:
    """Hold a lock file while the block runs.

    Parameters
    ----------
    path : Path
        The lock file; it stays, with the name of its last owner in it.
    shared : bool
        Several may hold it at once, but none beside an owner that does not share.
    patience : float, optional
        Seconds to wait for another owner; `PATIENCE` when not given.

    Raises
    ------
    MachineError
        Naming the owner, when another process holds it all the time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        _wait(file.fileno(), path, kind, PATIENCE if patience is None else patience)
        path.write_text(json.dumps(_owner()))
        yield


def _wait(descriptor: int, path: Path, kind: int, patience: float) -> None:
    end = time.monotonic() + patience
    told = False
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise MachineError(
                    f"{path.parent}: another process is writing this slide ({_holder(path)}). Two writers "
                    "would do the same work twice. Wait for it or stop it, then run the same command again."
                ) from error
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
            # Every block is a pure function of its input and is written atomically: two writers waste
            # time, but cannot spoil a result.
            logging.warning(f"{path.parent}: this file system has no locks; let one run write here")
            return
        if not told:
            logging.info(f"Waiting for another process that writes this slide ({_holder(path)})")
            told = True
        time.sleep(_EVERY)


def _owner() -> dict[str, object]:
    job = os.environ.get("SLURM_JOB_ID")
    return {"host": socket.gethostname(), "pid": os.getpid()} | ({"SLURM job": job} if job else {})


def _holder(path: Path) -> str:
    try:
        owner = json.loads(path.read_text())
        return ", ".join(f"{name} {value}" for name, value in owner.items())
    except (OSError, ValueError, AttributeError):
        return "its name is not known"
