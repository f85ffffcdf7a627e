"""The script that starts SLURM leaves alone what it did not set up."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parent / "cluster.sh"


def call(*arguments):
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_starting_it_twice_is_starting_it_once():
    before = Path("/run/slideunet-slurm/slurmctld.pid").read_text()
    run = call("start")
    assert run.returncode == 0
    assert "runs already" in run.stdout
    assert Path("/run/slideunet-slurm/slurmctld.pid").read_text() == before
    assert call("status").returncode == 0


def test_who_is_not_root_is_told():
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    run = subprocess.run([SCRIPT, "start"], capture_output=True, text=True, check=False, **nobody)
    assert os.getuid() == 0
    assert run.returncode == 77
    assert "needs root" in run.stderr
