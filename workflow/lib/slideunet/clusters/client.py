"""Opening and closing the workers of a job.

dask's messages are pickles, and a pickle can run code: anyone who reaches a scheduler or a worker can run
code in your name. Workers that are started here therefore use TLS with keys for this run only, and local
workers listen on the loopback interface only.
"""

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path

import dask
from distributed import Client, LocalCluster
from distributed.deploy.cluster import Cluster
from distributed.security import Security

import slideunet
from slideunet.clusters.settings import (
    SCHEDULER,
    SHARE_OF_MEMORY,
    dask_settings,
    search_path,
    thread_environment,
)
from slideunet.clusters.sigterm import exit_on_sigterm
from slideunet.clusters.slurm import start_slurm
from slideunet.clusters.spec import ClusterSpec
from slideunet.errors import InputError, MachineError

_LOOPBACK = "tls://127.0.0.1:"


@contextlib.contextmanager
def open_client(
    spec: ClusterSpec,
    workers: int,
    threads_per_worker: int = 1,
    memory_mb: int | None = None,
    *,
    folder: Path | None = None,
) -> Iterator[Client]:
    """Start workers, or connect to running ones, and close the started ones in any case.

    It is not dask's default client: dask arrays are still computed in threads.

    Parameters
    ----------
    spec : ClusterSpec
    workers : int
        Worker processes. A running cluster has its own.
    threads_per_worker : int
        Tasks of a worker at the same time, and threads of OpenMP and similar libraries.
    memory_mb : int, optional
        Memory of all workers together; a worker that exceeds its share is ended. None is no limit on this
        machine, and 2000 per thread on SLURM.
    folder : Path, optional
        On the shared file system: workers on SLURM write their logs and find their TLS keys there. The
        default is `logs/dask`.

    Yields
    ------
    distributed.Client
        With at least one worker. On SLURM the others join when their jobs start.

    Raises
    ------
    MachineError
        When no worker starts, SLURM refuses the jobs, no scheduler answers, or running workers have another
        version of the package.
    InputError
        When the scheduler file does not exist, or SLURMCluster does not accept `spec.slurm`.
    """
    settings = dask_settings(threads_per_worker, spec.allowed_failures, spec.wait_s)
    with contextlib.ExitStack() as stack:
        stack.enter_context(exit_on_sigterm())
        stack.enter_context(_quiet())
        stack.enter_context(dask.config.set(settings))
        if spec.kind == "local":
            client = _connect(stack, _start_local(workers, threads_per_worker, memory_mb))
        elif spec.kind == "slurm":
            memory = memory_mb or 2000 * workers * threads_per_worker
            place = (folder or Path("logs/dask")).absolute()
            started = start_slurm(spec.slurm, workers, threads_per_worker, memory, place, settings)
            client = _connect(stack, started)
        else:
            client = stack.enter_context(_find_running(spec))
        _wait(client, spec)
        yield client


def _connect(stack: contextlib.ExitStack, started: contextlib.AbstractContextManager[Cluster]) -> Client:
    return stack.enter_context(Client(stack.enter_context(started), set_as_default=False))


def _start_local(workers: int, threads: int, memory_mb: int | None) -> Cluster:
    # 0 is no limit.
    each = 0 if memory_mb is None else int(SHARE_OF_MEMORY * memory_mb * 2**20 / workers)
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=True,
            host="127.0.0.1",
            security=Security.temporary(),
            memory_limit=each,
            env=thread_environment(threads),
            scheduler_kwargs=SCHEDULER,
            # Otherwise every failed task prints its traceback to the terminal.
            silence_logs=logging.CRITICAL,
        )
    except RuntimeError as error:
        raise MachineError(
            f"A local dask worker ended while it started ({error}). The usual cause is too little memory or "
            "a broken installation. Run with more memory, or with dask.workers: 1, which starts none."
        ) from error
    if not cluster.scheduler_address.startswith(_LOOPBACK):
        cluster.close()
        raise RuntimeError(f"the local scheduler listens at {cluster.scheduler_address}")
    limit = f"{each / 2**20:.0f} MB each" if each else "no memory limit"
    logging.info(f"{workers} local workers, threads of each: {threads}, {limit}")
    return cluster


@contextlib.contextmanager
def _find_running(spec: ClusterSpec) -> Iterator[Client]:
    if spec.kind == "scheduler_file" and not Path(str(spec.place)).is_file():
        raise InputError(
            f"dask.cluster.scheduler_file: there is no {spec.place}. `dask scheduler --scheduler-file PATH` "
            "writes it. Start the cluster, or correct the path."
        )
    try:
        client = Client(**{spec.kind: spec.place}, timeout=f"{spec.wait_s:.0f}s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise MachineError(
            f"dask.cluster.{spec.kind}: no scheduler answers at {spec.place} ({error}). "
            "It does not run, or is not reachable from here. Start it, or correct the address."
        ) from error
    with client:
        yield client


def _wait(client: Client, spec: ClusterSpec) -> None:
    try:
        client.wait_for_workers(1, timeout=spec.wait_s)
    except TimeoutError as error:
        raise MachineError(
            f"No dask worker started within {spec.wait_s / 60:g} minutes (dask.cluster: {spec.kind}). The "
            "jobs wait in the queue (see squeue), or failed at their start (see logs/dask). Raise "
            "dask.timeout_minutes, or use dask.cluster: local."
        ) from error
    if spec.kind in ("address", "scheduler_file"):
        _check_package(client, str(spec.place))


def _check_package(client: Client, place: str) -> None:
    """Check that running workers have the same version of the code."""
    here = all(client.run(importlib.util.find_spec, "slideunet").values())
    versions = sorted(set(client.run(_version).values())) if here else ["none"]
    if versions != [_version()]:
        raise MachineError(
            f"dask.cluster: the workers at {place} have slideunet {', '.join(versions)}, this run has "
            f"{_version()}. Results would not be the same. Start the workers with "
            f"PYTHONPATH={search_path()} and the same Python."
        )


def _version() -> str:
    return slideunet.__version__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep dask's messages about every connection out of the log of the job."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
