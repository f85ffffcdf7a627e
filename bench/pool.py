"""Processes of a benchmark: work in them ends or fails, and SIGTERM ends all of them."""

import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow/lib"))

from slideunet.clusters.sigterm import exit_on_sigterm


@contextlib.contextmanager
def open_pool(
    processes: int, initialiser: Callable[..., None] | None = None, arguments: tuple[object, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Start new processes for some work and end them in any case.

    `multiprocessing.Pool` starts a process that died again, for ever when it dies in its initialiser, and a
    task whose process was killed never returns. Here either fails.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        From the results of tasks, when a process died or its initialiser failed.
    SystemExit
        On SIGTERM, with the code 143.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initialiser, arguments)
    with exit_on_sigterm():
        try:
            yield pool
            pool.shutdown()
        finally:
            # After a failure processes may still compute; the interpreter would wait for them at its exit.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
