"""A bounded queue: many tasks, few of them in flight, so that memory does not grow with their number."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm.core import CommClosedError
from distributed.protocol.pickle import dumps, loads
from distributed.scheduler import NoValidWorkerError

from slideunet.errors import MachineError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_PER_THREAD = 3
_ASK_EVERY_S = 5.0
# A task is a path and some indices. Anything larger is an array that was captured by accident.
_MOST_BYTES = 64 * 1024


def in_workers(
    client: Client,
    tasks: Iterable[_Task],
    do: Callable[[_Task], _Result],
    window: int | None,
    name: Callable[[_Task], str],
) -> Iterator[tuple[_Task, _Result]]:
    """Run a function on every task in the workers of a cluster; see `work_through`."""
    run, waiting, room = uuid.uuid4().hex, enumerate(tasks), _room(client, window)
    flying: dict[object, tuple[_Task, Future]] = {}
    done = as_completed(loop=client.loop)

    def fill() -> None:
        size = room()
        while len(flying) < size and (following := next(waiting, None)) is not None:
            number, task = following
            # Keys of one group: the scheduler then queues most of them, so that no worker hoards.
            future = client.submit(_do, _pack(do, task), key=(f"bag-{run}", number), pure=False)
            flying[future.key] = (task, future)
            done.add(future)

    try:
        fill()
        for future in done:
            task, _ = flying.pop(future.key)
            with _explained([task, *_failed(flying)], name):
                result = future.result()
            fill()
            yield task, result
    finally:
        with suppress(CommClosedError, CancelledError, TimeoutError):
            client.cancel([future for _, future in flying.values()])


def _room(client: Client, window: int | None) -> Callable[[], int]:
    """Return the number of tasks in flight. Workers on SLURM come late, so it is updated now and then."""
    size, since = 0, -_ASK_EVERY_S

    def room() -> int:
        nonlocal size, since
        if time.monotonic() - since >= _ASK_EVERY_S:
            size, since = _PER_THREAD * max(1, sum(client.nthreads().values())), time.monotonic()
        return size

    return room if window is None else lambda: window


def _failed(flying: Mapping[Any, tuple[_Task, Future]]) -> list[_Task]:
    """Tasks that waited at a worker when another task ended it: dask counts them as failed too."""
    return [task for task, future in flying.values() if future.status == "error"]


@contextmanager
def _explained(tasks: Sequence[_Task], name: Callable[[_Task], str]) -> Iterator[None]:
    """Explain failures of dask itself to the user; those of a task pass unchanged."""
    names = " or ".join(map(name, tasks))
    try:
        yield
    except KilledWorker as error:
        n = error.allowed_failures + 1
        raise MachineError(
            f"{names} ended {n} worker{'s one after the other' if n > 1 else ''}. The usual cause is too "
            "little memory. Run with more (mem_mb of the rule, or dask.slurm.memory), or with fewer "
            "workers (dask.workers)."
        ) from error
    except NoValidWorkerError as error:
        raise MachineError(
            f"{names} found no worker any more. All have ended, by their time limit or a failure. "
            "Run the same command again, on SLURM with a longer dask.slurm.walltime."
        ) from error
    except (CommClosedError, CancelledError) as error:
        raise MachineError(
            f"The dask scheduler was lost at {names}. It was stopped, or the network failed. "
            "Run the same command again; finished work is kept."
        ) from error


def _pack(do: Callable[[_Task], object], task: _Task) -> bytes:
    packed = dumps((do, task))
    if len(packed) > _MOST_BYTES:
        raise ValueError(
            f"a task of {len(packed)} bytes, and the scheduler holds copies of it. "
            "Give paths and indices, not arrays."
        )
    return packed


def _do(packed: bytes) -> object:
    """Run a task in a worker.

    It is unpacked here, because a worker ends itself when it cannot import a function from dask. And dask
    waits forever for a task that ends by `SystemExit` or by a panic of a library in Rust.
    """
    do, task = loads(packed)
    try:
        return do(task)
    except Exception:
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
