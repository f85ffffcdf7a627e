"""The whole workflow through a real SLURM of two nodes: the same results as here, and the same failures."""

import hashlib
import shutil

import numpy as np
import pytest
import tifffile
import zarr
from synthetic.drawing import draw
from synthetic.scene import Scene

from slideunet.inputs.batches import LARGE

FIELDS = [f"f{i}" for i in range(6)]
# Higher than a block of 4096 px, so that there is something to share out; padded, the file counts as a large
# slide, which has a batch to itself.
STRIP = "strip"
LABELLED = [f"results/batches/{batch}/label_cells.json" for batch in ("small-all", f"large-{STRIP}")]

CONFIG = {
    "split": {"val": 0.25, "test": 0.25},
    "model": {"width": 4, "depth": 2},
    "training": {"epochs": 1, "epoch_patches": 1, "patch_size": 64, "batch_size": 4, "precision": "fp32"},
    "prediction": {"precision": "fp32"},
}


def write_cohort(folder):
    """Six labelled fields of three donors in one batch, and an unlabelled strip in another."""
    rows = ["slide\timage\tlabels\tgroup"]
    for i, name in enumerate([*FIELDS, STRIP]):
        size = (4150, 40) if name == STRIP else (97, 83)
        scene = Scene("fluorescence", seed=i, donor_seed=i % 3, height=size[0], width=size[1], density=1.2)
        image, labels = draw(scene.region, scene)
        tifffile.imwrite(folder / f"{name}.tif", image[0])
        if name == STRIP:
            with (folder / f"{name}.tif").open("ab") as file:
                file.truncate(LARGE)
            rows.append(f"{name}\t{name}.tif\t\t{name}")
        else:
            ids = np.unique(labels, return_inverse=True)[1].astype(np.uint16)
            tifffile.imwrite(folder / f"{name}_labels.tif", ids)
            rows.append(f"{name}\t{name}.tif\t{name}_labels.tif\tdonor{i % 3}")
    (folder / "slides.tsv").write_text("\n".join(rows) + "\n")


def digests(folder):
    """Return the sha256 of every decoded array of every prediction."""
    stores = sorted((folder / "results/predictions").glob("*.zarr"))
    return {
        (store.name, name): hashlib.sha256(np.ascontiguousarray(array[:])).hexdigest()
        for store in stores
        for name, array in zarr.open_group(store, mode="r").members(max_depth=None)
        if isinstance(array, zarr.Array)
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder)
    return CONFIG | {"slides": str(folder / "slides.tsv")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, config, start_run):
    """The same run here (as far as the cells) and through SLURM (to the report), side by side."""
    here, there = (tmp_path_factory.mktemp(name) for name in ("here", "there"))
    both = [
        start_run(here, config, through_slurm=False, targets=LABELLED),
        start_run(there, config, through_slurm=True),
    ]
    told = [run.communicate(timeout=900)[0] for run in both]
    for run, output in zip(both, told, strict=True):
        assert run.returncode == 0, output
    return here, there


def test_the_results_are_those_of_a_run_on_one_machine(runs):
    here, there = runs
    found = digests(here)
    assert len({store for store, _ in found}) == len(FIELDS) + 1
    assert digests(there) == found
    model = "results/model/model.safetensors"
    assert (there / model).read_bytes() == (here / model).read_bytes()
    assert (there / "results/report/report.html").is_file()


def test_both_nodes_had_batches_and_no_job_was_repeated(runs, history):
    jobs = history(runs[1])
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert len({job.comment for job in jobs}) == len(jobs)
    for rule in ("convert_slides", "predict_slides"):
        assert {job.node for job in jobs if job.rule == rule} == {"n1", "n2"}
    [training] = [job for job in jobs if job.rule == "train_unet"]
    assert (training.cpus, training.memory) == (2, "6000M")


def test_a_second_run_has_nothing_to_do(runs, config, start_run, history):
    before = len(history(runs[1]))
    run = start_run(runs[1], config, through_slurm=True)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert "Nothing to be done" in output
    assert len(history(runs[1])) == before


@pytest.fixture
def again(runs, tmp_path):
    """A copy of the run through SLURM in which the strip is not predicted yet."""
    folder = tmp_path / "again"
    shutil.copytree(runs[1], folder)
    shutil.rmtree(folder / f"results/predictions/{STRIP}.zarr")
    (folder / f"results/predictions/{STRIP}.json").unlink()
    (folder / f"results/batches/large-{STRIP}/predict_slides.json").unlink()
    return folder


def test_a_failure_comes_with_its_message_and_exit_code_after_retries_with_more_memory(
    again, config, start_run, history
):
    level = again / f"results/slides/{STRIP}.zarr/0"
    for file in [path for path in level.rglob("*") if path.is_file() and path.name != "zarr.json"]:
        file.write_bytes(file.read_bytes()[:-7])
    target = f"results/batches/large-{STRIP}/predict_slides.json"
    run = start_run(again, config, "--retries", "1", through_slurm=True, targets=[target])
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 3, output
    account = output.split(f"What went wrong (logs/predict_slides/large-{STRIP}.log)")[1]
    assert f"{STRIP}.zarr" in account
    # A failed job is a new job with twice the memory, not another try inside the old one.
    tries = history(again)
    assert {job.rule for job in tries} == {"predict_slides"}
    assert [job.state for job in tries] == ["FAILED", "FAILED"]
    first, second = (int(job.memory.removesuffix("M")) for job in tries)
    assert second == 2 * first
    said = [path.read_text() for path in (again / ".snakemake/slurm_logs").rglob("*.log")]
    assert len(said) == 2
    assert not any("Trying to restart" in text for text in said)


def test_dask_workers_of_their_own_jobs_give_the_same_result(runs, again, config, start_run, history):
    own = config | {"dask": {"cluster": "slurm", "workers": 2, "slurm": {"memory": "2GiB"}}}
    run = start_run(again, own, through_slurm=True, targets=LABELLED)
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 0, output
    assert digests(again) == digests(runs[0])
    workers = [job for job in history(again) if job.name == "slideunet-worker"]
    assert {job.memory for job in workers} == {"2G"}
    assert {job.node for job in workers} == {"n1", "n2"}
    assert not {job.state for job in workers} & {"RUNNING", "PENDING"}
