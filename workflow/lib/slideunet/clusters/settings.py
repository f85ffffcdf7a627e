"""How dask and the arithmetic libraries are set in every worker, wherever it runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slideunet

# What a worker may use of the memory that it was given; the rest is for its nanny and for what is freed late.
SHARE_OF_MEMORY = 0.85
# No status page, and a port that no other job has.
SCHEDULER: dict[str, Any] = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}

# Libraries read these once, when they are imported.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def dask_settings(threads: int, allowed_failures: int, wait_s: float) -> dict[str, Any]:
    """Return the settings of dask for scheduler and workers.

    Parameters
    ----------
    threads : int
        Arithmetic threads of a worker process.
    allowed_failures : int
        A task that ends more workers than these has failed.
    wait_s : float
        Seconds that a task may find no worker at all.
    """
    return {
        # Results are a few bytes, so there is nothing to spill; a worker that paused because a model fills it
        # to 80 % would pause for ever. One that goes beyond its limit is ended, and its task done again.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.scheduler.allowed-failures": allowed_failures,
        "distributed.scheduler.no-workers-timeout": f"{wait_s:.0f}s",
        "distributed.scheduler.active-memory-manager.start": False,
        # Nobody reads the status pages; what is not served needs no protection.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        # dask's own choice is 1, whatever the threads of a worker are.
        "distributed.nanny.pre-spawn-environ": thread_environment(threads),
    }


def thread_environment(threads: int) -> dict[str, str]:
    """Return the variables that set the threads of OpenMP, MKL and OpenBLAS."""
    # And dask's own default for giving memory back to the system.
    return dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"MALLOC_TRIM_THRESHOLD_": "65536"}


def as_variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings of dask as the environment variables that mean the same."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        # A mapping of variables has names whose case matters and would be lost; they are set directly.
        if not isinstance(value, dict):
            flat["DASK_" + key.upper().replace(".", "__").replace("-", "_")] = str(value)
    return flat


def search_path() -> str:
    """Return a PYTHONPATH by which a worker finds this package before any other of its name."""
    library = Path(slideunet.__file__).parents[1]
    return os.pathsep.join(filter(None, [str(library), os.environ.get("PYTHONPATH")]))
