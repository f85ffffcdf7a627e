"""A benchmark ends or fails, whatever happens to its processes; each one here is a program of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

BENCH = Path(__file__).parents[2] / "bench"
PROGRAM = r"""
import os, sys, time
from pool import open_pool

def start(how):
    if how == "raise":
        raise RuntimeError("injected")
    if how == "die":
        os._exit(3)

def work(how):
    if how == "killed":
        os.kill(os.getpid(), 9)
    if how == "sleep":
        os.write(1, f"{os.getpid()}\n".encode())
        time.sleep(600)
    return os.getpid()

if __name__ == "__main__":
    with open_pool(2, start, (sys.argv[1],)) as pool:
        print(len(list(pool.map(work, [sys.argv[1]] * 4))), flush=True)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)

    def begin(how):
        return subprocess.Popen(
            [sys.executable, tmp_path / "program.py", how],
            env=os.environ | {"PYTHONPATH": str(BENCH)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.mark.slow
def test_work_is_done(program):
    job = program("")
    assert job.communicate(timeout=120)[0] == "4\n"
    assert job.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "die", "killed"])
def test_a_process_that_dies_ends_the_benchmark(program, how):
    job = program(how)
    told = job.communicate(timeout=120)[1]
    assert "BrokenProcessPool" in told
    assert ("injected" in told) == (how == "raise")
    assert job.returncode == 1


@pytest.mark.slow
def test_sigterm_ends_the_benchmark_and_its_processes(program):
    job = program("sleep")
    workers = [psutil.Process(int(job.stdout.readline())) for _ in range(2)]
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=120)
    assert job.returncode == 143
    assert psutil.wait_procs(workers, timeout=60)[1] == []
