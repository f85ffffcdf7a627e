"""Where the workers of a job are, as the section `dask` of the configuration says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from slideunet.errors import InputError

Kind = Literal["local", "slurm", "address", "scheduler_file"]


@dataclass(frozen=True)
class SlurmWorkers:
    """What a SLURM job that runs workers asks for; None leaves it to SLURM or to what the caller gives.

    Attributes
    ----------
    queue : str or None
        Partition.
    account : str or None
    walltime : str
        In SLURM's notation. What a worker had in hand when its time ended is done by another.
    cores : int or None
        CPUs of a SLURM job, which runs as many worker processes as they suffice for. None is one process.
    memory_mb : int or None
        Memory of a SLURM job. None is its share of what the caller gives all workers together.
    interface : str or None
        Network interface by which the nodes reach each other, such as ib0.
    directives : tuple of str
        Further options of sbatch, such as "--constraint=avx512".
    prologue : tuple of str
        Shell commands before a worker starts, such as "module load gcc".
    """

    queue: str | None = None
    account: str | None = None
    walltime: str = "08:00:00"
    cores: int | None = None
    memory_mb: int | None = None
    interface: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClusterSpec:
    """Where the workers are.

    Attributes
    ----------
    kind : str
        "local", "slurm", "address" or "scheduler_file".
    place : str or None
        The address, or the path of the scheduler file, of a cluster that already runs.
    slurm : SlurmWorkers
        Only used by "slurm".
    wait_s : float
        Seconds to wait for a worker before giving up.
    allowed_failures : int
        A task that ends more workers than these has failed.
    """

    kind: Kind = "local"
    place: str | None = None
    slurm: SlurmWorkers = field(default_factory=SlurmWorkers)
    wait_s: float = 600.0
    allowed_failures: int = 3

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> "ClusterSpec":
        """Read the section `dask` of a configuration that the schema has checked.

        Parameters
        ----------
        section : mapping
            `cluster`: "local", "slurm", {"address": "tcp://HOST:PORT"} or {"scheduler_file": PATH}.
            `slurm`: attributes of `SlurmWorkers`. `timeout_minutes`: how long the first worker may take.

        Raises
        ------
        InputError
            When `cluster` is none of these.
        """
        cluster = section.get("cluster", "local")
        kind, place = next(iter(cluster.items())) if isinstance(cluster, Mapping) else (cluster, None)
        if kind not in get_args(Kind) or (place is None) != (kind in ("local", "slurm")):
            raise InputError(
                f"dask.cluster is {cluster!r}. There is no such kind of cluster. Give local, slurm, "
                "{address: tcp://HOST:PORT} or {scheduler_file: PATH}."
            )
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in (section.get("slurm") or {}).items()
        }
        return cls(kind, place, SlurmWorkers(**options), 60.0 * section.get("timeout_minutes", 10))
