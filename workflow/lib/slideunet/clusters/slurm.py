"""Workers in SLURM jobs of their own, through dask-jobqueue."""

import contextlib
import logging
import math
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
from distributed.deploy.cluster import Cluster
from distributed.security import Security

from slideunet.clusters.settings import (
    SCHEDULER,
    SHARE_OF_MEMORY,
    as_variables,
    search_path,
    thread_environment,
)
from slideunet.errors import InputError, MachineError

Options = dict[str, Any]


@contextlib.contextmanager
def start_slurm(
    slurm: Mapping[str, Any],
    workers: int,
    threads: int,
    memory_mb: int,
    folder: Path,
    settings: Mapping[str, Any],
) -> Iterator[Cluster]:
    """Submit the jobs of the workers, which join as SLURM starts them, and cancel them in the end.

    Parameters
    ----------
    slurm, workers, threads, memory_mb, folder
        See `cluster_options`.
    settings : mapping
        See `settings.dask_settings`.

    Raises
    ------
    MachineError
        When there is no SLURM here, or it refuses the jobs.
    InputError
        When SLURMCluster does not accept an option of `slurm`.
    """
    # Not everybody who installs slideunet has a cluster.
    from dask_jobqueue.slurm import SLURMCluster

    if shutil.which("sbatch") is None:
        raise MachineError(
            "dask.cluster is slurm, but there is no sbatch here. Only machines of a cluster can send jobs "
            "to SLURM. Run on one of them, or set dask.cluster: local."
        )
    folder.mkdir(parents=True, exist_ok=True)
    options = cluster_options(slurm, workers, threads, memory_mb, folder, settings)
    with _tls_keys(folder) as security:
        try:
            started = SLURMCluster(**options, security=security)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"dask.slurm is {dict(slurm)}. SLURMCluster of dask-jobqueue refuses it: {error}. Its "
                "documentation lists the options. Correct dask.slurm."
            ) from error
        with started as cluster:
            _test_submission(cluster.job_script())
            cluster.scale(workers)
            logging.info(
                f"{workers} workers in SLURM jobs, {threads} threads each; their logs are in {folder}"
            )
            yield cluster


def cluster_options(
    slurm: Mapping[str, Any],
    workers: int,
    threads: int,
    memory_mb: int,
    folder: Path,
    settings: Mapping[str, Any],
) -> Options:
    """Return the arguments of SLURMCluster, all but the security.

    Parameters
    ----------
    slurm : mapping
        Arguments of the user. They win over dask's own configuration (jobqueue.yaml), which wins over one
        worker per job.
    workers, threads : int
        Processes, and threads of each.
    memory_mb : int
        Memory of all workers together, unless the user sets it.
    folder : Path
        For logs, on the shared file system.
    settings : mapping
        See `settings.dask_settings`.
    """
    from dask_jobqueue import slurm as _  # noqa: F401 -- its import reads jobqueue.yaml

    configured = dask.config.get("jobqueue.slurm")
    user = {name.replace("-", "_"): value for name, value in configured.items() if value} | dict(slurm)
    cores = user.get("cores", threads)
    processes = user.get("processes", max(1, cores // threads))
    memory = processes * math.ceil(memory_mb / workers)
    variables = as_variables(settings) | thread_environment(threads) | {"PYTHONPATH": search_path()}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    limits = {"memory": f"{SHARE_OF_MEMORY * memory:.0f}MiB", "job_mem": f"{memory}M"}
    defaults = {
        "cores": cores,
        "processes": processes,
        "python": sys.executable,
        "log_directory": str(folder),
    }
    added = {
        "job_script_prologue": [*exports, *user.get("job_script_prologue", [])],
        "worker_extra_args": [
            *("--no-dashboard", "--dashboard-address", SCHEDULER["dashboard_address"]),
            *user.get("worker_extra_args", []),
        ],
        "scheduler_options": SCHEDULER | user.get("scheduler_options", {}),
    }
    missing = {name: value for name, value in defaults.items() if name not in user}
    return (
        {"job_name": "slideunet-worker"}
        | ({} if "memory" in user else limits)
        | missing
        | dict(slurm)
        | added
    )


@contextlib.contextmanager
def _tls_keys(folder: Path) -> Iterator[Security]:
    """Create keys for this run, in a folder that only its owner can read and that is removed afterwards."""
    temporary = Security.temporary()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tls-") as name:
        certificate, key = Path(name, "certificate.pem"), Path(name, "key.pem")
        certificate.write_text(temporary.tls_ca_file)
        key.write_text(temporary.tls_worker_key)
        roles = ("scheduler", "worker", "client")
        yield Security(
            require_encryption=True,
            tls_ca_file=str(certificate),
            **{f"tls_{role}_cert": str(certificate) for role in roles},
            **{f"tls_{role}_key": str(key) for role in roles},
        )


def _test_submission(script: str) -> None:
    """Let SLURM check a job first; dask-jobqueue would only log its refusal, and wait."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        test = subprocess.run(
            ["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False
        )
    if test.returncode:
        raise MachineError(
            f"SLURM refuses the jobs of the dask workers: {' '.join(test.stderr.split())}. "
            "Correct dask.slurm (such as queue, account, walltime, cores, memory)."
        )
