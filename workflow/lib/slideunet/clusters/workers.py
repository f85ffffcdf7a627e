"""Workers that start with the first slide that needs them: most jobs have only small slides."""

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from slideunet.clusters.spec import ClusterSpec
from slideunet.geometry.blocks import BlockGrid

if TYPE_CHECKING:
    from distributed import Client


class Workers:
    """The workers of one job, kept for all of its slides; a context manager.

    Parameters
    ----------
    section : mapping
        The section `dask` of the configuration.
    threads, memory_mb : int
        Resources of the job.
    gpus : int
        When there are several, one worker serves each. Whoever serves a GPU does several tasks at once: while
        one computes, others read and write.

    Attributes
    ----------
    tasks : int
        That a process does at once.
    """

    def __init__(self, section: Mapping[str, Any], threads: int, memory_mb: int, gpus: int = 0) -> None:
        self._spec = ClusterSpec.from_section(section)
        self._memory_mb = memory_mb
        self._held = contextlib.ExitStack()
        self._client: Client | None = None
        self.threads_per_worker = min(section["threads_per_worker"], threads)
        fitting = max(1, threads // self.threads_per_worker)
        self.count = gpus or (fitting if section["workers"] == "auto" else section["workers"])
        self.tasks = min(max(_LEAST_PER_GPU, threads // gpus), _MOST_PER_GPU) if gpus else 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def client_for(self, shape: tuple[int, ...]) -> "Client | None":
        """Return the client for a slide (..., y, x); None when this process does it as well by itself."""
        alone = self._spec.kind == "local" and self.count == 1
        if alone or len(BlockGrid(shape)) == 1:
            return None
        if self._client is None:
            from slideunet.clusters.client import open_client

            self._client = self._held.enter_context(
                open_client(self._spec, self.count, self.tasks, self._memory_mb)
            )
        return self._client


# More hold more memory, and the GPU is busy with fewer.
_LEAST_PER_GPU, _MOST_PER_GPU = 3, 8
