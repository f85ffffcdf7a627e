"""Many tasks with few of them in flight, on workers that die."""

import time
from functools import partial

import numpy as np
import psutil
import pytest
from cluster_work import die, fill_memory, leave_a_trace, panic, square, surroundings

from slideunet.clusters import ClusterSpec, work_through
from slideunet.clusters.client import open_client
from slideunet.errors import InputError, MachineError


@pytest.fixture(scope="module")
def client():
    spec = ClusterSpec(allowed_failures=1)
    with open_client(spec, workers=2, threads_per_worker=1, memory_mb=2000) as client:
        yield client


def counted(taken, number):
    for i in range(number):
        taken.append(i)
        yield i


@pytest.mark.parametrize("window", [None, 1, 2, 100])
def test_every_task_is_done_once_whatever_the_window(client, window):
    done = list(work_through(client, range(40), square, window=window))
    assert sorted(done) == list(work_through(None, range(40), square)) == [(i, i * i) for i in range(40)]


def test_no_tasks(client):
    assert list(work_through(client, [], square)) == list(work_through(None, [], square)) == []


def test_tasks_are_taken_only_when_there_is_room_for_them(client):
    taken, flying = [], []
    for done, _ in enumerate(work_through(client, counted(taken, 50), square, window=5), start=1):
        flying.append(len(taken) - done)
    assert len(taken) == done == 50
    assert flying == [5] * 45 + [4, 3, 2, 1, 0]


def test_the_window_is_three_per_thread(client):
    taken = []
    next(work_through(client, counted(taken, 50), square))
    # One came back, and another one went.
    assert len(taken) == 3 * 2 + 1


def test_in_this_process_a_task_is_taken_when_the_last_one_is_done():
    taken = []
    assert next(work_through(None, counted(taken, 50), square)) == (0, 0)
    assert taken == [0]


def test_the_first_failure_arrives_unchanged_and_stops_the_rest(client, tmp_path):
    with pytest.raises(InputError) as error:
        list(work_through(client, range(500), partial(leave_a_trace, tmp_path, 7)))
    assert error.value.problems == ("slide A: wrong", "slide B: wrong")
    time.sleep(0.3)
    # More than 7 and the window when its worker starts later than the other, on a busy machine.
    assert len(list(tmp_path.iterdir())) < 100
    assert not any(client.processing().values())


def test_a_task_that_panics_is_not_waited_for_for_ever(client):
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        list(work_through(client, range(9), panic))


def test_a_function_that_workers_cannot_import_is_an_error_and_not_the_end_of_them(
    client, tmp_path, monkeypatch
):
    (tmp_path / "only_here.py").write_text("def do(task):\n    return task\n")
    # The workers have copied the search path when they started.
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    with pytest.raises(ModuleNotFoundError, match="only_here"):
        list(work_through(client, range(9), only_here.do))
    assert list(work_through(client, [3], square)) == [(3, 9)]


def test_who_stops_listening_stops_the_rest(client, tmp_path):
    next(work_through(client, range(500), partial(leave_a_trace, tmp_path, None)))
    time.sleep(0.3)
    assert 1 <= len(list(tmp_path.iterdir())) <= 1 + 6
    assert not any(client.processing().values())


@pytest.mark.parametrize("place", ["task", "function"])
def test_arrays_do_not_travel(client, place):
    array = np.zeros(100_000, np.uint8)
    tasks, do = ([array], square) if place == "task" else ([1], partial(np.add, array))
    with pytest.raises(ValueError, match="paths and indices"):
        list(work_through(client, tasks, do))


def test_a_worker_that_dies_is_replaced_and_its_task_done_again(client, tmp_path):
    [(_, worker)] = work_through(client, [(tmp_path, 1)], die)
    assert psutil.Process(worker).is_running()
    assert len(list(tmp_path.iterdir())) == 1
    client.wait_for_workers(2, timeout=30)


@pytest.mark.slow
def test_a_task_that_ends_every_worker_is_named(client, tmp_path):
    with pytest.raises(MachineError, match=r"^block 3, 7 ended 2 workers .* memory\. .* \(dask\.workers\)"):
        list(work_through(client, [(tmp_path, 99)], die, name=lambda task: "block 3, 7"))
    client.wait_for_workers(2, timeout=30)
    assert dict(work_through(client, range(3), square)) == {0: 0, 1: 1, 2: 4}


@pytest.mark.slow
def test_a_worker_beyond_its_memory_is_ended_and_the_task_named():
    spec = ClusterSpec(allowed_failures=0)
    with (
        open_client(spec, workers=1, threads_per_worker=2, memory_mb=500) as client,
        pytest.raises(MachineError, match=r"^600 ended 1 worker\."),
    ):
        list(work_through(client, [600], fill_memory))


@pytest.mark.slow
def test_threads_are_set_and_nothing_listens_to_other_machines(client):
    assert client.scheduler.address.startswith("tls://127.0.0.1:")
    [(_, (environment, listening))] = work_through(client, [0], surroundings)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        assert environment[variable] == "1"
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}
