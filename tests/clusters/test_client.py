"""Workers that are started, found, or not there, and that end with the job."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import dask
import psutil
import pytest
from distributed import LocalCluster

import slideunet
from slideunet.clusters import ClusterSpec, work_through
from slideunet.clusters.client import open_client
from slideunet.errors import InputError, MachineError

JOB = """
import os, signal, sys, time
from slideunet.clusters import ClusterSpec
from slideunet.clusters.client import open_client

if __name__ == "__main__":
    # A shell that starts the tests in the background has SIGINT ignored by all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open_client(ClusterSpec(), workers=1) as client:
        print(*client.run(os.getpid).values(), flush=True)
        if sys.argv[1] == "fail":
            raise RuntimeError("of the job")
        time.sleep(60)
"""


@pytest.fixture(scope="module")
def running():
    """A cluster of one worker that somebody else started."""
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


def lives(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -2), (signal.SIGKILL, -9), ("fail", 1)]
)
def test_workers_end_with_the_job_however_it_ends(tmp_path, how, code):
    (tmp_path / "job.py").write_text(JOB)
    job = subprocess.Popen(
        [sys.executable, tmp_path / "job.py", str(how)],
        env=os.environ | {"PYTHONPATH": str(Path(slideunet.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    worker = int(job.stdout.readline())
    if how != "fail":
        assert lives(worker)
        job.send_signal(how)
    job.communicate(timeout=30)
    assert job.returncode == code
    if lives(worker):
        psutil.wait_procs([psutil.Process(worker)], timeout=10)
    assert not lives(worker)


@pytest.mark.slow
def test_workers_that_die_at_their_start_end_the_job(tmp_path):
    (tmp_path / "dying.py").write_text("import os\nos._exit(3)\n")
    with (
        dask.config.set({"distributed.worker.preload": [str(tmp_path / "dying.py")]}),
        pytest.raises(MachineError, match=r"worker ended while it started .* dask\.workers: 1"),
        open_client(ClusterSpec(), workers=2),
    ):
        pass


def test_a_cluster_that_runs_already_is_used_and_left_alone(running, tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"address": "{running.scheduler_address}"}}')
    for kind, place in (("address", running.scheduler_address), ("scheduler_file", str(file))):
        with open_client(ClusterSpec(kind, place, wait_s=20), workers=1) as client:
            assert list(work_through(client, [-5], abs)) == [(-5, 5)]


def test_workers_with_other_code_are_refused(running, monkeypatch):
    monkeypatch.setattr(slideunet, "__version__", "0.0.0.other")
    spec = ClusterSpec("address", running.scheduler_address, wait_s=20)
    with pytest.raises(MachineError, match=r"0\.0\.0\.other"), open_client(spec, workers=1):
        pass


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (ClusterSpec("address", "tcp://127.0.0.1:1", wait_s=1), MachineError, "no scheduler answers at tcp:"),
        (ClusterSpec("address", "nonsense://x", wait_s=1), MachineError, "no scheduler answers at nonsense:"),
        (ClusterSpec("scheduler_file", "nowhere.json"), InputError, "there is no nowhere"),
        (ClusterSpec("slurm"), MachineError, "there is no sbatch"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, monkeypatch, spec, error, message):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(error, match=message), open_client(spec, workers=1, folder=tmp_path):
        pass
    # A client that could not connect is collected here, where nothing else starts: distributed deadlocks
    # (2026.8) when that happens while another client takes the lock of its event loop.
    gc.collect()


def test_workers_that_never_come_are_not_waited_for_for_ever():
    with LocalCluster(n_workers=0, dashboard_address=None) as empty:
        spec = ClusterSpec("address", empty.scheduler_address, wait_s=0.6)
        with (
            pytest.raises(
                MachineError, match=r"No dask worker started within 0\.01 minutes .* dask\.timeout_minutes"
            ),
            open_client(spec, workers=1),
        ):
            pass
