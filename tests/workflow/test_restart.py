"""kill -9 of a whole run in the middle of its training, and the same command again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tifffile
import torch

ROOT = Path(__file__).parents[2]
MODEL = "results/model/model.json"


def write_cohort(folder):
    rng = np.random.default_rng(3)
    rows = ["slide\timage\tlabels\tsplit"]
    for i in range(4):
        labels = np.zeros((131, 97), np.uint16)
        labels[10 + i : 40, 20:50], labels[60:90, 30 + i : 70] = 1, 2
        image = rng.integers(0, 99, labels.shape, dtype=np.uint16) + 200 * (labels > 0).astype(np.uint16)
        tifffile.imwrite(folder / f"s{i}.tif", image)
        tifffile.imwrite(folder / f"s{i}_labels.tif", labels)
        rows.append(f"s{i}\ts{i}.tif\ts{i}_labels.tif\t{['train', 'train', 'val', 'test'][i]}")
    (folder / "slides.tsv").write_text("\n".join(rows) + "\n")


def kill_after_an_epoch(command, folder):
    """Start a run in a session of its own and kill all of it once an epoch is saved."""
    run = subprocess.Popen(
        command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list((folder / "results/seeds").glob("state/*/progress.pt")):
        assert run.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path, snakemake, tiny):
    config = tiny | {"slides": "slides.tsv", "training": tiny["training"] | {"epochs": 12}}
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for folder in (killed, undisturbed):
        folder.mkdir()
        write_cohort(folder)
    result = snakemake(undisturbed, MODEL, config=config)
    assert result.returncode == 0, result.stdout + result.stderr

    snakemake(killed, MODEL, "--dry-run", config=config)
    command = [sys.executable, "-m", "snakemake", MODEL, "--cores", "2"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "my.yaml"]
    kill_after_an_epoch(command, killed)
    saved = next((killed / "results/seeds").glob("state/*/progress.pt"))
    done = torch.load(saved, weights_only=True)["epoch"]
    assert 0 < done < 12
    snakemake(killed, "--unlock")
    result = snakemake(killed, MODEL)
    assert result.returncode == 0, result.stdout + result.stderr
    log = (killed / "logs/train_unet/0.log").read_text()
    assert f"Going on after epoch {done}" in log

    ends = [(folder / "results/model/model.safetensors").read_bytes() for folder in (killed, undisturbed)]
    assert ends[0] == ends[1]
    assert len((killed / "results/model/history.csv").read_text().splitlines()) == 13
