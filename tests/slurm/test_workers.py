"""dask workers in SLURM jobs."""

import sys
import time
from pathlib import Path

import pytest

import slideunet
from slideunet.clusters import ClusterSpec, work_through
from slideunet.clusters.client import open_client
from slideunet.errors import MachineError


@pytest.fixture
def where_am_i(monkeypatch):
    """A task in a file that workers find by the PYTHONPATH of this process."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    import slurm_work

    yield slurm_work.where_am_i
    del sys.modules["slurm_work"]


def test_workers_run_on_both_nodes_with_their_threads_and_leave_nothing_behind(
    tmp_path, monkeypatch, history, where_am_i
):
    monkeypatch.chdir(tmp_path)
    spec = ClusterSpec("slurm", wait_s=60)
    with open_client(
        spec, workers=2, threads_per_worker=2, memory_mb=3000, folder=tmp_path / "dask"
    ) as client:
        client.wait_for_workers(2, timeout=60)
        assert client.scheduler.address.startswith("tls://")
        [keys] = (tmp_path / "dask").glob(".tls-*")
        assert keys.stat().st_mode & 0o077 == 0
        results = [result for _, result in work_through(client, [0.2] * 8, where_am_i)]
    assert {node for node, _, _ in results} == {"n1", "n2"}
    assert {threads for _, threads, _ in results} == {"2"}
    assert {file for _, _, file in results} == {slideunet.__file__}
    assert not keys.exists()
    jobs = history(tmp_path)
    assert [(job.cpus, job.memory) for job in jobs] == [(2, "1500M")] * 2
    deadline = time.monotonic() + 20
    while any(job.state in ("RUNNING", "PENDING", "COMPLETING") for job in history(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"queue": "nowhere"}, "invalid partition"),
        ({"memory": "10TB"}, "[Rr]equested node configuration"),
    ],
)
def test_a_refusal_of_slurm_is_reported_at_once(tmp_path, asked, reason):
    start = time.monotonic()
    with (
        pytest.raises(MachineError, match=rf"SLURM refuses .*{reason}.*Correct dask\.slurm"),
        open_client(ClusterSpec("slurm", slurm=asked), workers=1, folder=tmp_path),
    ):
        pass
    assert time.monotonic() - start < 30


def test_jobs_that_wait_in_the_queue_are_not_waited_for_for_ever(tmp_path, monkeypatch, history):
    monkeypatch.chdir(tmp_path)
    waiting = {"job_extra_directives": ["--begin=now+1hour"]}
    with (
        pytest.raises(MachineError, match="squeue"),
        open_client(ClusterSpec("slurm", slurm=waiting, wait_s=2), workers=1, folder=tmp_path),
    ):
        pass
    assert [job.state for job in history(tmp_path)] == ["CANCELLED"]
