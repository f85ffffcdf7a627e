"""Options of SLURM jobs, as dask-jobqueue writes them into a job script. Real jobs are in tests/slurm."""

import re
import sys

import dask
import pytest
from dask_jobqueue.slurm import SLURMJob

from slideunet.clusters import ClusterSpec
from slideunet.clusters.client import open_client
from slideunet.clusters.settings import dask_settings
from slideunet.clusters.slurm import job_options
from slideunet.errors import InputError


@pytest.fixture
def script():
    """Return the job script for two workers of three threads with 3001 MB together."""

    def write(**slurm):
        options = job_options(slurm, 2, 3, 3001, dask_settings(3, 5, 90))
        return SLURMJob("tls://h:1", "w", **options).job_script()

    return write


def directives(text):
    return re.findall(r"^#SBATCH (.+)$", text, re.MULTILINE)


def test_without_options_a_job_is_one_worker_with_its_share_of_the_memory(script):
    text = script()
    assert {"-J slideunet-worker", "--cpus-per-task=3", "--mem=1501M"} <= set(directives(text))
    assert sys.executable in text
    assert "--nthreads 3" in text
    assert "--nworkers" not in text
    [limit] = re.findall(r"--memory-limit ([\d.]+)GiB", text)
    assert float(limit) == pytest.approx(0.85 * 1501 / 1024, abs=0.01)
    assert "export OMP_NUM_THREADS=3" in text
    assert "export PYTHONPATH=" in text
    assert "--no-dashboard" in text


def test_options_reach_slurm_as_they_are(script):
    text = script(
        queue="long",
        account="me",
        walltime="08:00:00",
        cores=7,
        memory="4000MB",
        job_extra_directives=["--constraint=avx512"],
        job_script_prologue=["module load gcc"],
        worker_extra_args=["--lifetime", "1h"],
    )
    assert {"-p long", "-A me", "-t 08:00:00", "--cpus-per-task=7", "--constraint=avx512"} <= set(
        directives(text)
    )
    assert "--nworkers 2" in text
    assert text.index("export PYTHONPATH") < text.index("module load gcc") < text.index(sys.executable)
    assert "--lifetime 1h" in text
    assert "--no-dashboard" in text
    assert re.search(r"--memory-limit 1\.86GiB", text)


def test_the_configuration_of_dask_is_used_where_the_run_says_nothing(script):
    with dask.config.set({"jobqueue.slurm.queue": "night", "jobqueue.slurm.cores": 6}):
        assert {"-p night", "--cpus-per-task=6", "--mem=3002M"} <= set(directives(script()))
        assert "--nworkers 2" in script()
        assert {"-p day", "--cpus-per-task=3"} <= set(directives(script(queue="day", cores=3)))


def test_an_unknown_option_is_named(tmp_path, monkeypatch):
    (tmp_path / "sbatch").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(InputError, match=r"dask\.slurm is \{'que': 'x'\}.*refuses it.*'que'"),
        open_client(ClusterSpec("slurm", slurm={"que": "x"}), workers=1, folder=tmp_path),
    ):
        pass
