"""Work through the tasks of a job: in this process, or in the workers of a cluster.

dask is imported only where there is a cluster: most jobs have none, and it takes a quarter of their start.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from slideunet.logs import progress_line
from slideunet.stores.resumable import BlockFacts, Work

if TYPE_CHECKING:
    from distributed import Client

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def work_through(
    client: "Client | None",
    tasks: Iterable[_Task],
    do: Callable[[_Task], _Result],
    *,
    window: int | None = None,
    name: Callable[[_Task], str] = str,
) -> Iterator[tuple[_Task, _Result]]:
    """Run a function on every task and yield each task with its result as soon as it is done.

    Parameters
    ----------
    client : distributed.Client or None
        None runs the tasks in this process, one after the other.
    tasks : iterable
        Small objects such as (absolute path, row, column); taken only when a place is free.
    do : callable
        A function of an importable module, or a `functools.partial` of one with small arguments. It is
        called again when its worker died, so it must be idempotent. Its result must be small.
    window : int, optional
        Tasks in flight. The default is three per thread of all workers, so that no worker is idle.
    name : callable
        Name of a task in messages.

    Yields
    ------
    tuple
        _Task and result, in the order of completion.

    Raises
    ------
    MachineError
        When a task ended several workers, no worker is left, or the scheduler is lost.
    Exception
        The first exception of `do`, unchanged. Tasks that have not started are then cancelled.
    ValueError
        When a task and `do` take more than 64 KiB as a pickle.
    """
    if client is None:
        for task in tasks:
            yield task, do(task)
        return
    from slideunet.clusters.bounded_queue import in_workers

    yield from in_workers(client, tasks, do, window, name)


def record_blocks(
    work: Work, client: "Client | None", todo: Collection[int], do: Callable[[int], BlockFacts], *, slide: str
) -> None:
    """Do something with every block of a slide that is to do, and record the facts that it returns."""

    def name(index: int) -> str:
        return f"slide {slide}, block {index}"

    with progress_line(len(todo), unit="block", label=slide) as bar:
        for index, facts in work_through(client, todo, do, name=name):
            work.record(index, facts)
            bar.update()
