import contextlib

import pytest

from slideunet.clusters import client
from slideunet.clusters.workers import Workers

SMALL, LARGE = (1, 4096, 4096), (3, 4097, 100)


@pytest.fixture
def started(monkeypatch):
    """The clusters that are started, and whether they still run."""
    clusters = []

    @contextlib.contextmanager
    def start(spec, workers, threads_per_worker=1, memory_mb=None):
        clusters.append({"kind": spec.kind, "workers": workers, "tasks": threads_per_worker, "runs": True})
        yield f"client {len(clusters)}"
        clusters[-1]["runs"] = False

    monkeypatch.setattr(client, "open_client", start)
    return clusters


@pytest.fixture
def section(defaults):
    return lambda **changes: defaults(dask=changes)["dask"]


def test_slides_of_one_block_start_nothing(section, started):
    for cluster in ("local", "slurm"):
        with Workers(section(cluster=cluster), threads=8, memory_mb=1) as workers:
            assert workers.client_for(SMALL) is None
    assert started == []


@pytest.mark.parametrize(
    ("shape", "threads", "changes", "starts"),
    [
        ((1, 8192, 4096), 2, {}, False),
        ((1, 4097, 4097), 2, {}, False),
        ((1, 8192, 4097), 2, {}, True),
        ((1, 8192, 16384), 16, {}, False),
        ((1, 8192, 16385), 16, {}, True),
        ((1, 4097, 4097), 2, {"cluster": "slurm"}, True),
    ],
)
def test_where_one_process_uses_all_threads_small_slides_start_nothing(
    section, started, shape, threads, changes, starts
):
    with Workers(section(**changes), threads, memory_mb=1) as workers:
        assert (workers.client_for(shape, threaded=True) is not None) == starts
        assert len(started) == starts
        assert workers.client_for(shape) is not None


def test_one_gpu_is_served_by_this_process(section, started):
    with Workers(section(), threads=6, memory_mb=1, gpus=1) as workers:
        assert workers.client_for(LARGE) is None
        assert workers.tasks == 6
    assert started == []


def test_a_cluster_is_started_once_and_ends_with_the_job(section, started):
    with Workers(section(), threads=3, memory_mb=1) as workers:
        found = [workers.client_for(shape) for shape in (LARGE, SMALL, LARGE)]
        assert found == ["client 1", None, "client 1"]
        assert started == [{"kind": "local", "workers": 3, "tasks": 1, "runs": True}]
    assert not started[0]["runs"]


@pytest.mark.parametrize(
    ("changes", "threads", "gpus", "workers", "tasks"),
    [
        ({}, 4, 0, 4, 1),
        ({"threads_per_worker": 2}, 5, 0, 2, 1),
        ({"workers": 7}, 2, 0, 7, 1),
        ({}, 4, 2, 2, 3),
        ({}, 12, 2, 2, 6),
        ({}, 64, 2, 2, 8),
        ({"cluster": "slurm"}, 1, 0, 1, 1),
        ({"cluster": {"address": "tcp://h:1"}}, 1, 0, 1, 1),
    ],
)
def test_how_many_workers_with_how_many_tasks(section, started, changes, threads, gpus, workers, tasks):
    with Workers(section(**changes), threads, 1, gpus) as job:
        assert job.client_for(LARGE) == "client 1"
    assert (started[0]["workers"], started[0]["tasks"]) == (workers, tasks)


@pytest.mark.parametrize(
    ("changes", "threads"), [({}, 1), ({"workers": 1}, 8), ({"threads_per_worker": 8}, 8)]
)
def test_one_local_worker_is_this_process(section, started, changes, threads):
    with Workers(section(**changes), threads, 1) as job:
        assert job.client_for(LARGE) is None
    assert started == []


def test_a_worker_has_no_more_threads_than_the_job(section):
    assert Workers(section(threads_per_worker=16), threads=4, memory_mb=1).threads_per_worker == 4
