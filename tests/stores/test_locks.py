import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import slideunet
from slideunet.errors import MachineError
from slideunet.stores.locks import locked

HOLD = """
import sys, time
from pathlib import Path
from slideunet.stores.locks import locked

with locked(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold():
    """Hold a lock in another process, and return the process."""
    holders = []

    def start(path, how="alone"):
        environment = os.environ | {"PYTHONPATH": str(Path(slideunet.__file__).parents[1])}
        command = [sys.executable, "-c", HOLD, str(path), how]
        holders.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        assert holders[-1].stdout.readline() == "held\n"
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "predictions" / ".S1.lock"


def test_another_owner_is_named_and_nothing_is_done(lock, hold):
    holder = hold(lock)
    name = rf"predictions: another process is writing .*host {socket.gethostname()}, pid {holder.pid}\)"
    with pytest.raises(MachineError, match=name), locked(lock, patience=0.3):
        raise AssertionError("held by two")


def test_the_name_of_a_slurm_job_is_told(lock, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with (
        locked(lock),
        pytest.raises(MachineError, match=rf"pid {os.getpid()}, SLURM job 4711\)"),
        locked(lock, patience=0),
    ):
        pass


def test_an_owner_that_ends_in_time_is_waited_for(lock, hold, caplog):
    caplog.set_level("INFO")
    holder = hold(lock)
    start = time.monotonic()
    holder.send_signal(signal.SIGKILL)
    with locked(lock, patience=30):
        assert time.monotonic() - start < 10
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    with locked(lock, patience=0):  # and it was given back
        pass


def test_that_it_waits_is_told_once(lock, hold, caplog):
    caplog.set_level("INFO")
    holder = hold(lock)
    with pytest.raises(MachineError), locked(lock, patience=0.7):
        pass
    assert [message for message in caplog.messages if f"pid {holder.pid}" in message] == caplog.messages
    assert len(caplog.messages) == 1


def test_those_that_share_are_let_in_together_but_none_beside_one_that_does_not(lock, hold):
    with locked(lock, shared=True):
        other = hold(lock, "shared")
        with pytest.raises(MachineError), locked(lock, patience=0.3):
            pass
    with pytest.raises(MachineError), locked(lock, patience=0.3):
        pass
    other.kill()
    other.wait()
    hold(lock)
    with pytest.raises(MachineError), locked(lock, shared=True, patience=0.3):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "7"])
def test_an_owner_whose_name_is_damaged_keeps_its_lock(lock, hold, text):
    hold(lock)
    lock.write_text(text)
    with pytest.raises(MachineError, match="its name is not known"), locked(lock, patience=0):
        pass


def test_where_the_file_system_has_no_locks_it_is_said_and_gone_on(lock, monkeypatch, caplog):
    def refuse(*args):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(lock):
        pass
    assert "has no locks; let one run write here" in caplog.text


def test_another_failure_of_the_file_system_is_none_of_a_lock(lock, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), locked(lock):
        pass


def test_an_error_inside_gives_the_lock_back(lock):
    with pytest.raises(ZeroDivisionError), locked(lock):
        raise ZeroDivisionError
    with locked(lock, patience=0):
        pass
