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

from distributed.deploy.cluster import Cluster
from distributed.security import Security

from slideunet.clusters.settings import (
    SCHEDULER,
    SHARE_OF_MEMORY,
    as_variables,
    search_path,
    thread_environment,
)
from slideunet.clusters.spec import SlurmWorkers
from slideunet.errors import MachineError


@contextlib.contextmanager
def start_slurm(
    slurm: SlurmWorkers,
    workers: int,
    threads: int,
    memory_mb: int,
    folder: Path,
    settings: Mapping[str, Any],
) -> Iterator[Cluster]:
    """Submit the jobs of the workers, which come as SLURM starts them, and cancel them in the end.

    Parameters
    ----------
    slurm : SlurmWorkers
    workers, threads : int
        Processes, and threads of each.
    memory_mb : int
        Of all workers together, where `slurm` does not say it.
    folder : Path
        For logs and TLS keys, on the shared file system.
    settings : mapping
        See `settings.dask_settings`.

    Raises
    ------
    MachineError
        When there is no SLURM here, or it refuses the jobs.
    """
    # Not everybody who installs slideunet has a cluster.
    from dask_jobqueue.slurm import SLURMCluster

    if shutil.which("sbatch") is None:
        raise MachineError(
            "dask.cluster is slurm, but there is no sbatch here. Only machines of a cluster can send jobs "
            "to SLURM. Run on one of them, or set dask.cluster: local."
        )
    processes = max(1, (slurm.cores or threads) // threads)
    memory = slurm.memory_mb or processes * math.ceil(memory_mb / workers)
    variables = as_variables(settings) | thread_environment(threads) | {"PYTHONPATH": search_path()}
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _tls_keys(folder) as security,
        SLURMCluster(
            job_name="slideunet-worker",
            queue=slurm.queue,
            account=slurm.account,
            walltime=slurm.walltime,
            cores=processes * threads,
            job_cpu=slurm.cores,
            processes=processes,
            memory=f"{SHARE_OF_MEMORY * memory:.0f}MiB",
            job_mem=f"{memory}M",
            interface=slurm.interface,
            python=sys.executable,
            job_script_prologue=[*_exports(variables), *slurm.prologue],
            job_extra_directives=list(slurm.directives),
            worker_extra_args=["--no-dashboard", "--dashboard-address", SCHEDULER["dashboard_address"]],
            log_directory=str(folder),
            security=security,
            scheduler_options=SCHEDULER,
        ) as cluster,
    ):
        _test_submission(cluster.job_script())
        cluster.scale(workers)
        logging.info(
            f"{workers} workers in {math.ceil(workers / processes)} SLURM jobs of {memory} MB, "
            f"threads of each: {threads}; their logs are in {folder}"
        )
        yield cluster


@contextlib.contextmanager
def _tls_keys(folder: Path) -> Iterator[Security]:
    """Make keys for this run, in a folder that only its owner can read and that goes with the run."""
    made = Security.temporary()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tls-") as name:
        certificate, key = Path(name, "certificate.pem"), Path(name, "key.pem")
        certificate.write_text(made.tls_ca_file)
        key.write_text(made.tls_worker_key)
        roles = ("scheduler", "worker", "client")
        yield Security(
            require_encryption=True,
            tls_ca_file=str(certificate),
            **{f"tls_{role}_cert": str(certificate) for role in roles},
            **{f"tls_{role}_key": str(key) for role in roles},
        )


def _exports(variables: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _test_submission(script: str) -> None:
    """Let SLURM say what is wrong with a job; dask-jobqueue would only log it, and wait."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        test = subprocess.run(
            ["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False
        )
    if test.returncode:
        raise MachineError(
            f"SLURM refuses the jobs of the dask workers: {' '.join(test.stderr.split())}. "
            "Correct dask.slurm (queue, account, walltime, cores, memory_mb, directives)."
        )
