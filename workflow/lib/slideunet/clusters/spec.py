"""Where the workers of a job run: the section `dask` of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ClusterKind = Literal["local", "slurm", "address", "scheduler_file"]


@dataclass(frozen=True)
class ClusterSpec:
    """Where the workers run.

    Attributes
    ----------
    kind : str
        "local", "slurm", "address" or "scheduler_file".
    place : str or None
        The address, or the path of the scheduler file, of a running cluster.
    slurm : mapping
        Arguments of `dask_jobqueue.SLURMCluster`; only used by "slurm".
    wait_s : float
        Timeout for the first worker, in seconds.
    allowed_failures : int
        A task fails when it ends more workers than this.
    """

    kind: ClusterKind = "local"
    place: str | None = None
    slurm: Mapping[str, Any] = field(default_factory=dict)
    wait_s: float = 600.0
    allowed_failures: int = 3

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> "ClusterSpec":
        """Read the section `dask` of a checked configuration.

        Parameters
        ----------
        section : mapping
            `cluster`: "local", "slurm", {"address": "tcp://HOST:PORT"} or {"scheduler_file": PATH}.
            `slurm`: arguments of SLURMCluster. `timeout_minutes`: timeout for the first worker.
        """
        cluster = section["cluster"]
        kind, place = next(iter(cluster.items())) if isinstance(cluster, Mapping) else (cluster, None)
        return cls(kind, place, section["slurm"], 60.0 * section["timeout_minutes"])
