import fcntl
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from synthetic.drawing import draw
from synthetic.scene import Scene

ROOT = Path(__file__).parents[2]

# A network and a training that are over in seconds.
TINY = {
    "split": {"val": 0.25, "test": 0.25},
    "model": {"width": 4, "depth": 2},
    "training": {"epochs": 2, "epoch_patches": 1, "patch_size": 64, "batch_size": 4, "precision": "fp32"},
}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.workflow)


@pytest.fixture(scope="session")
def snakemake():
    """Run Snakemake in a folder, on its `my.yaml`, as a user would."""

    def run(folder, *arguments, config=None, cores=2):
        if config is not None:
            (folder / "my.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile")]
        command += ["--directory", str(folder), "--configfile", str(folder / "my.yaml")]
        command += [] if cores is None else ["--cores", str(cores)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def tiny():
    return TINY


@pytest.fixture(scope="session")
def write_field():
    """Draw fluorescent cells and save them as NAME.tif and NAME_labels.tif."""

    def write(folder, name, seed, donor):
        scene = Scene("fluorescence", seed=seed, donor_seed=donor, height=97, width=83, density=1.2)
        image, labels = draw(scene.region, scene)
        tifffile.imwrite(folder / f"{name}.tif", image[0])
        compact = np.unique(labels, return_inverse=True)[1]
        tifffile.imwrite(folder / f"{name}_labels.tif", compact.astype(np.uint16))

    return write


@pytest.fixture(scope="session")
def cohort(tmp_path_factory, snakemake, tiny, write_field):
    """Six labelled fields of four donors and one unlabelled, run to the end.

    All processes of a test run share it: the first makes it, the others wait. Only test_workflow.py runs it
    again, with one more slide; what there was stays.
    """
    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "cohort"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            _run_cohort(folder, snakemake, tiny, write_field)
    assert (folder / "results/report/report.html").exists(), f"the run in {folder} had failed before"
    return folder


def _run_cohort(folder, snakemake, tiny, write_field):
    rows = ["slide\timage\tlabels\tgroup\tstain"]
    for i in range(7):
        write_field(folder, f"f{i}", seed=i, donor=i % 4)
        # Absolute, so that the sheet can be used elsewhere.
        image, labels = (folder / f"f{i}{kind}.tif" for kind in ("", "_labels"))
        rows.append(f"f{i}\t{image}\t{labels}\tdonor{i % 4}\ts{i % 2}")
    rows[-1] = f"f6\t{image}\t\tdonor9\ts0"
    (folder / "slides.tsv").write_text("\n".join(rows) + "\n")
    result = snakemake(folder, config=tiny | {"slides": "slides.tsv", "report": {"by": ["stain"]}})
    assert result.returncode == 0, result.stdout + result.stderr
