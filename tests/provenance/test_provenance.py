import json
import os
import subprocess
import sys

import pytest

import build_report
from slideunet.provenance import machine
from slideunet.provenance.machine import this_machine
from slideunet.provenance.rule_costs import RuleCost, costs_of_rules, read_jobs
from slideunet.provenance.run_provenance import digest_of_data, gather_provenance
from slideunet.provenance.workflow_state import WorkflowState, workflow_state

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "böse name"
    (root / "workflow").mkdir(parents=True)
    (root / "Snakefile").write_text("a\n")
    (root / "workflow" / "ä b.py").write_text("a\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def test_commit_and_changes_are_those_of_git(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "slides.tsv").write_text("a sheet is no code")
    assert workflow_state(checkout) == WorkflowState(commit, ())
    (checkout / "workflow" / "ä b.py").write_text("b\n")
    (checkout / "workflow" / "new").mkdir()
    (checkout / "workflow" / "new" / "new.py").write_text("")
    (checkout / "Snakefile").unlink()
    changed = ("Snakefile", "workflow/new/new.py", "workflow/ä b.py")
    assert workflow_state(checkout) == WorkflowState(commit, changed)


def test_another_repository_is_not_taken_for_the_workflow(checkout, tmp_path, monkeypatch):
    inside = checkout / "workflow"
    assert workflow_state(inside) == WorkflowState(None, None)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    assert workflow_state(other) == WorkflowState(None, None)


def test_without_git_or_a_commit_the_state_is_unknown(checkout, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    assert workflow_state(empty) == WorkflowState(None, None)
    monkeypatch.setenv("PATH", str(empty))
    assert workflow_state(checkout) == WorkflowState(None, None)


def test_the_machine_is_described_with_its_gpus(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast (R) 9000: X\n\nmodel name\t: other\n")
    monkeypatch.setattr(machine, "CPUINFO", cpuinfo)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU A, 81559 MiB'\necho 'GPU B, 1 MiB'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = this_machine()
    assert found.processor == "Fast (R) 9000: X"
    assert found.gpus == ("GPU A, 81559 MiB", "GPU B, 1 MiB")
    assert found.cores == os.cpu_count() and found.memory_gb > 0.1
    tool.write_text("#!/bin/sh\necho 'no driver' >&2\nexit 9\n")
    cpuinfo.unlink()
    assert this_machine().gpus == () and this_machine().processor


def write_benchmarks(folder):
    files = {
        "check_inputs": (1.5, 200.0, 1.0, 1000),
        "split_slides": (0.4, 0.24, 0.0, 1002),
        "train_unet/7": (60.0, 900.0, 100.0, 1100),
        "train_unet/8": (30.0, 950.0, 50.0, 1120),
        "train_unet/9": (3000.0, 9500.0, 50.0, 50000),
        "predict_slides/small-all": (20.0, "-", "NA", 1200),
        "predict_part/large-1-0": (5.0, 300.0, 4.0, 1201),
        "predict_part/large-2-0": (5.0, 300.0, 4.0, 1201),
        "share_cells/small-all": (9.0, 300.0, 4.0, 9999),
        "build_report": (9.0, 300.0, 4.0, 9999),
        "drop_parts/small-all": (9.0, 300.0, 4.0, 9999),
        "drop_labels": (9.0, 300.0, 4.0, 9999),
    }
    for name, (seconds, memory, cpu, ended) in files.items():
        path = folder / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEAD}{seconds}\t0:00:01\t{memory}\t1\t1\t1\t0\t0\t50\t{cpu}\n")
        os.utime(path, (ended, ended))
    (folder / "score_seeds.tsv").write_text("")
    (folder / "join_seeds.tsv").write_text(HEAD)


def test_costs_are_those_of_the_jobs_of_this_run(tmp_path):
    write_benchmarks(tmp_path)
    jobs = read_jobs(tmp_path, {"small-all", "large-1", "7", "8"}, trained=True)
    assert costs_of_rules(jobs) == [
        RuleCost("train_unet", 2, 90.0, 150.0, 996.1),
        RuleCost("predict_slides", 1, 20.0, None, None),
        RuleCost("predict_part", 1, 5.0, 4.0, 314.6),
        RuleCost("check_inputs", 1, 1.5, 1.0, 209.7),
        RuleCost("split_slides", 1, 0.4, None, None),
    ]
    rules = {job.rule for job in read_jobs(tmp_path, {"small-all", "7"}, trained=False)}
    assert rules == {"check_inputs", "split_slides", "predict_slides"}


def test_start_and_end_are_those_of_the_jobs(tmp_path):
    write_benchmarks(tmp_path)
    found = gather_provenance(tmp_path, tmp_path, {"small-all", "7"}, trained=True)
    assert (found.started, found.ended) == ("1970-01-01T00:16:38+00:00", "1970-01-01T00:20:00+00:00")
    assert found.workflow == WorkflowState(None, None)
    json.dumps(found.as_dict(), allow_nan=False)
    nothing = gather_provenance(tmp_path, tmp_path / "none", set(), trained=True)
    assert (nothing.started, nothing.ended, nothing.rules) == (None, None, ())


def test_seeds_and_batches_name_the_jobs():
    manifests = ["results/batches/small-all/score_slides.json", "results/batches/large-1/score_slides.json"]
    batches = {"small-all", "large-1"}
    assert build_report.names_of_jobs(manifests, {"training": {"seed": 3}}) == batches | {"3"}
    members = {"training": {"members": [{"seed": 0}, {"seed": 7}]}}
    assert build_report.names_of_jobs(manifests, members) == batches | {"0", "7"}
    assert build_report.names_of_jobs(manifests, {}) == batches


def test_the_digest_of_the_data_is_that_of_every_slide():
    slides = [("a", "1", None), ("b", "2", "3")]
    digest = digest_of_data(slides)
    assert digest == digest_of_data(reversed(slides))
    for other in (
        [("a", "1", None)],
        [("a", "1", "3"), ("b", "2", None)],
        [("b", "1", None), ("a", "2", "3")],
    ):
        assert digest_of_data(other) != digest


def test_nothing_slow_is_loaded_for_it():
    code = (
        "import sys, slideunet.provenance.run_provenance;"
        "print({'torch', 'matplotlib', 'rocrate', 'dask'} & set(sys.modules))"
    )
    path = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert run.stdout.strip() == "set()", run.stderr
