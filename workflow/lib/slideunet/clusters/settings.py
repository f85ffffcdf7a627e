"""Settings of dask and the arithmetic libraries for all workers."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slideunet

# Fraction of its memory that a worker may use; the rest is for its nanny and memory that is freed late.
SHARE_OF_MEMORY = 0.85
# No dashboard, and a free port.
SCHEDULER: dict[str, Any] = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}

# Libraries read these once, at import.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def dask_settings(threads: int, allowed_failures: int, wait_s: float) -> dict[str, Any]:
    """Return the settings of dask for scheduler and workers.

    Parameters
    ----------
    threads : int
        Arithmetic threads of a worker process.
    allowed_failures : int
        A task fails when it ends more workers than this.
    wait_s : float
        Seconds that a task may wait while there is no worker.
    """
    return {
        # Results are a few bytes, so there is nothing to spill; a worker that paused because a model takes
        # 80 % of its memory would pause forever. A worker beyond its limit is ended, and its task repeated.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.scheduler.allowed-failures": allowed_failures,
        "distributed.scheduler.no-workers-timeout": f"{wait_s:.0f}s",
        "distributed.scheduler.active-memory-manager.start": False,
        # Nobody reads the status pages, and pages that are not served need no protection.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        # dask's default is 1 thread, independent of the threads of a worker.
        "distributed.nanny.pre-spawn-environ": thread_environment(threads),
    }


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment variables for the threads of OpenMP, MKL and OpenBLAS."""
    # And dask's own default for returning memory to the system.
    return dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"MALLOC_TRIM_THRESHOLD_": "65536"}


def as_variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings of dask as environment variables."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        # Names in a mapping of variables would lose their case; they are set directly.
        if not isinstance(value, dict):
            flat["DASK_" + key.upper().replace(".", "__").replace("-", "_")] = str(value)
    return flat


def search_path() -> str:
    """Return a PYTHONPATH with this package before any other of its name."""
    library = Path(slideunet.__file__).parents[1]
    return os.pathsep.join(filter(None, [str(library), os.environ.get("PYTHONPATH")]))
