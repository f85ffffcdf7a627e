"""Workers that start with the first slide that needs them: most jobs have only small slides."""

import contextlib
import math
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from slideunet.clusters.spec import ClusterSpec
from slideunet.geometry.blocks import BLOCK, BlockGrid

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

    def client_for(self, shape: tuple[int, ...], *, threaded: bool = False) -> "Client | None":
        """Return the client for a slide (..., y, x); None when this process does it as well by itself.

        `threaded` says that this process does one block with all threads of the job: it then does small
        slides before local workers are ready, and workers would not share out their few blocks evenly.
        """
        few = max(_FEW_BLOCKS, self.count // 2) if threaded else 0
        alone = self.count == 1 or math.prod(shape[-2:]) <= few * BLOCK**2
        if (alone and self._spec.kind == "local") or len(BlockGrid(shape)) == 1:
            return None
        if self._client is None:
            from slideunet.clusters.client import open_client

            self._client = self._held.enter_context(
                open_client(self._spec, self.count, self.tasks, self._memory_mb)
            )
        return self._client


# Pixels of so many blocks take less time than workers need to start and to load the network.
_FEW_BLOCKS = 2
# More hold more memory, and the GPU is busy with fewer.
_LEAST_PER_GPU, _MOST_PER_GPU = 3, 8
