"""A slide of several blocks: kill -9 of the whole run while it predicts, and jobs that share it."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
import yaml

from slideunet.inputs.batches import LARGE
from slideunet.model_json import read_model_facts
from slideunet.network.inference.plan import PredictionPlan, used_facts
from slideunet.network.inference.predict_slide import predict_slide
from slideunet.stores.manifests import read_manifest
from slideunet.stores.resumable import read_journal
from slideunet.stores.verified import open_image_store

ROOT = Path(__file__).parents[2]
BLOCKS = 8
PREDICTION = {"engine": "openvino", "precision": "fp32", "tile": 64}


@pytest.fixture
def folder(tmp_path, random_network, save_network):
    """A sheet with one slide of 8 blocks, and a model."""
    pixels = np.random.default_rng(0).integers(0, 255, (150, 4096 * (BLOCKS - 1) + 70), np.uint8)
    tifffile.imwrite(tmp_path / "S1.tif", pixels, tile=(256, 256), compression="zlib")
    (tmp_path / "slides.tsv").write_text("slide\timage\nS1\tS1.tif\n")
    network = random_network()
    network.head.weight.data /= 20
    save_network(tmp_path / "model", network, training={"contents": []})
    return tmp_path


def config(**changes):
    return {"slides": "slides.tsv", "model": {"weights": "model"}, "prediction": PREDICTION} | changes


def undisturbed(folder):
    """The blocks of the same slide, predicted at once and here."""
    model = folder / "model"
    plan = PredictionPlan(model, used_facts(read_model_facts(model)), "openvino", "fp32")
    manifest = folder / "here" / "S1.json"
    predict_slide(folder / "results/slides/S1.json", manifest, plan)
    probability = open_image_store(manifest)[:]
    assert ((probability > 0) & (probability < 255)).mean() > 0.2
    return read_manifest(manifest)["blocks"]


class Run:
    """Snakemake in a session of its own."""

    def __init__(self, folder, target):
        command = [sys.executable, "-m", "snakemake", target, "--snakefile", str(ROOT / "Snakefile")]
        command += ["--cores", "2", "--configfile", "my.yaml"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.folder = folder
        self.log = (folder / "snakemake.log").open("w")
        self.process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"PATH": path}, start_new_session=True,
            stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait_for(self, condition):
        end = time.monotonic() + 180
        while not condition():
            assert self.process.poll() is None, (self.folder / "snakemake.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.01)

    def kill(self):
        """Send SIGKILL to every process of the run at once."""
        family = [self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(True))]
        assert {os.getpgid(pid) for pid in family} == {self.process.pid}
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        _, living = psutil.wait_procs([psutil.Process(pid) for pid in family if psutil.pid_exists(pid)], 10)
        assert not [process for process in living if process.status() != psutil.STATUS_ZOMBIE]
        self.log.close()


def unfinished(folder):
    return next((folder / "results/predictions").glob("S1.zarr.*.partial"), None)


def written(store):
    """The blocks of which the full resolution is on the disk, noted or not."""
    return {int(file.name) for file in (store / "0/c/0/0").glob("*") if file.name.isdigit()}


def done_by(folder):
    store = unfinished(folder)
    return set() if store is None else set(read_journal(store))


def kill_while_predicting(folder, target, already, delay):
    """Start the run, kill it some time after it has done a block, and return what is done then."""
    run = Run(folder, target)
    run.wait_for(lambda: len(done_by(folder)) > already)
    end = time.monotonic() + delay
    # Whatever the speed of this machine: long before the last block.
    run.wait_for(lambda: time.monotonic() > end or len(done_by(folder)) > already + 1)
    run.kill()
    store = unfinished(folder)
    done = set(read_journal(store))
    assert already < len(done) < BLOCKS
    # Two workers: at most one block of each is done again.
    assert len(written(store) - done) <= 2
    return done


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(folder, snakemake):
    target = "results/batches/small-all/predict_slides.json"
    (folder / "my.yaml").write_text(yaml.safe_dump(config(dask={"workers": 2})))
    rng, done = random.Random(5), set()
    for _ in range(2):
        kept = kill_while_predicting(folder, target, len(done), rng.uniform(0, 1.5))
        assert done <= kept
        done = kept
        assert not (folder / "results/predictions/S1.json").exists()
        snakemake(folder, "--unlock")
    result = snakemake(folder, target)
    assert result.returncode == 0, result.stdout + result.stderr
    facts = read_manifest(folder / "results/predictions/S1.json")
    assert facts["blocks"] == undisturbed(folder)
    open_image_store(folder / "results/predictions/S1.json")[:]
    log = (folder / "logs/predict_slides/small-all.log").read_text()
    assert re.findall(r"S1: resuming, (\d) of 8 blocks are done", log) == [str(len(done))]
    left = [path.name for path in (folder / "results/predictions").iterdir() if path.name[0] != "."]
    assert sorted(left) == ["S1.json", "S1.zarr"]


def test_jobs_share_a_large_slide(folder, snakemake):
    # Only the size of its file makes a slide a large one: what follows the image is a hole.
    os.truncate(folder / "S1.tif", LARGE)
    settings = config(prediction=PREDICTION | {"parts": 3, "tile": "auto"}, dask={"workers": 1})
    batch = folder / "results/batches/large-S1"
    result = snakemake(folder, str(batch.relative_to(folder) / "predict_slides.json"), config=settings)
    assert result.returncode == 0, result.stdout + result.stderr
    for part in range(3):
        told = json.loads((batch / f"predict_part-{part}.json").read_text())
        assert told == {"slides": ["S1"], "part": part, "parts": 3}
    assert "S1: resuming, 8 of 8 blocks are done" in (folder / "logs/predict_slides/large-S1.log").read_text()
    assert read_manifest(folder / "results/predictions/S1.json")["blocks"] == undisturbed(folder)
