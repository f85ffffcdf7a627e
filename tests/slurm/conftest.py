"""What the tests on a SLURM need. `make test-slurm` starts it on this machine; else they are skipped."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

# A job takes some seconds; the plugin asks ten seconds later whenever nothing has ended meanwhile.
QUICK = ("--slurm-init-seconds-before-status-checks", "8", "--latency-wait", "10")


@dataclass(frozen=True)
class SlurmJob:
    """A job that SLURM remembers."""

    name: str
    rule: str
    state: str
    node: str
    cpus: int
    memory: str
    comment: str


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.workflow)


def is_running():
    if shutil.which("scontrol") is None:
        return False
    config = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    return bool(re.search(r"^ClusterName\s*= slideunet$", config.stdout, re.MULTILINE))


@pytest.fixture(scope="session", autouse=True)
def only_on_our_slurm():
    """Skip the tests unless the SLURM of cluster.sh runs here: never send their jobs to a real one."""
    if not is_running():
        pytest.skip("the SLURM of tests/slurm/cluster.sh is not running; `make test-slurm` starts it")


@pytest.fixture(scope="session")
def history():
    """List the jobs that were submitted from a folder; SLURM remembers them for an hour (MinJobAge)."""

    def jobs(folder):
        shown = subprocess.run(["scontrol", "show", "job", "-o"], capture_output=True, text=True, check=True)
        found = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in shown.stdout.splitlines()]
        return [
            SlurmJob(
                name=job["JobName"],
                rule=re.sub(r"^rule_|_wildcards_.*", "", job.get("Comment", "")),
                state=job["JobState"],
                node=job.get("BatchHost", ""),
                cpus=int(job["NumCPUs"]),
                memory=job["MinMemoryNode"],
                comment=job.get("Comment", ""),
            )
            for job in found
            if job.get("WorkDir") == str(folder)
        ]

    return jobs


def command(folder, *arguments, targets):
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"),
        *("--directory", str(folder), "--configfile", str(folder / "my.yaml"), *arguments, "--", *targets),
    ]


@pytest.fixture(scope="session")
def start_run():
    """Start Snakemake, as a user would: here, or through the profile for SLURM."""

    def start(folder, config, *arguments, through_slurm, targets=()):
        (folder / "my.yaml").write_text(yaml.safe_dump(config))
        if through_slurm:
            arguments = ("--profile", str(ROOT / "profiles/slurm"), "--max-threads", "2", *QUICK, *arguments)
        # No virtual environment is active: jobs have to find their Python by themselves.
        path = os.pathsep.join(
            folder
            for folder in os.environ["PATH"].split(os.pathsep)
            if folder != str(Path(sys.executable).parent)
        )
        return subprocess.Popen(
            command(folder, *arguments, targets=targets),
            cwd=folder,
            env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start
