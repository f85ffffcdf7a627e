"""What is done with a model that the workflow has trained: prediction, more training, an ensemble."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from schemas import file_errors, schema_errors

from slideunet.stores.verified import open_image_store, open_label_store

ROOT = Path(__file__).parents[2]
MODEL = "results/model/model.json"


def test_a_trained_model_predicts_without_training(cohort, snakemake, tmp_path):
    (tmp_path / "slides.tsv").write_text(f"slide,image\nS1,{cohort}/f6.tif\n")
    model = {"weights": str(cohort / "results/model")}
    config = {"slides": "slides.tsv", "model": model, "cells": {"ome_tiff": True}}
    result = snakemake(tmp_path, config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not (tmp_path / "results/model").exists()
    assert not (tmp_path / "results/seeds").exists()
    labels = tifffile.imread(tmp_path / "results/cells/S1.ome.tif")
    np.testing.assert_array_equal(
        labels, open_label_store(tmp_path / "results/predictions/S1.json", "cells")[:]
    )
    found = open_image_store(tmp_path / "results/predictions/S1.json")[:]
    np.testing.assert_array_equal(found, open_image_store(cohort / "results/predictions/f6.json")[:])
    assert (tmp_path / "results/report/report.html").is_file()


def test_a_run_is_compared_with_an_earlier_one(cohort, snakemake, tmp_path):
    shutil.copy(cohort / "slides.tsv", tmp_path)
    config = {
        "slides": "slides.tsv",
        "model": {"weights": str(cohort / "results/model")},
        "prediction": {"threshold": 0.9},
        "data": {"keep": ["slides"]},
        "report": {"compare_with": [str(cohort)]},
    }
    result = snakemake(tmp_path, config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    comparison = tmp_path / "results/comparison"
    content = json.loads((comparison / "comparison.json").read_text())
    assert schema_errors("comparison", content) == []
    assert [Path(run["folder"]) for run in content["runs"]] == [cohort, tmp_path]
    tested = pd.read_csv(cohort / "results/split.tsv", sep="\t").query("split == 'test'")["slide"]
    assert {row["slide"] for row in content["slides"]} == set(tested)
    for row in content["slides"]:
        scores = [at / f"results/metrics/{row['slide']}.json" for at in (cohort, tmp_path)]
        assert list(row["values"]["dice"].values()) == [
            json.loads(path.read_text())["values"]["dice"] for path in scores
        ]
    # Labels are dropped when the pictures are drawn, not before.
    assert "No pictures" not in (comparison / "comparison.html").read_text()
    assert not (tmp_path / f"results/predictions/{tested.iloc[0]}.zarr/labels/cells").exists()
    assert "Nothing to be done" in snakemake(tmp_path).stderr


def test_a_training_that_begins_with_a_model_is_not_tested_on_what_that_has_seen(
    cohort, snakemake, tiny, write_field, tmp_path
):
    known = [f"f{i}" for i in range(4)]
    fresh = [f"n{i}" for i in range(4)]
    for i, name in enumerate(fresh):
        write_field(tmp_path, name, seed=50 + i, donor=20 + i)
    lines = ["slide\timage\tlabels\tgroup"]
    lines += [f"{name}\t{cohort}/{name}.tif\t{cohort}/{name}_labels.tif\told{name}" for name in known]
    lines += [f"{name}\t{name}.tif\t{name}_labels.tif\t{name}" for name in fresh]
    (tmp_path / "slides.tsv").write_text("\n".join(lines) + "\n")
    training = tiny["training"] | {"init_from": str(cohort / "results/model")}
    result = snakemake(tmp_path, MODEL, config=tiny | {"slides": "slides.tsv", "training": training})
    assert result.returncode == 0, result.stdout + result.stderr
    first, second = (json.loads((at / MODEL).read_text()) for at in (cohort, tmp_path))
    assert second["training"]["init_from"] == first["sha256"]
    split = pd.read_csv(tmp_path / "results/split.tsv", sep="\t", dtype=str)
    tested = set(split.loc[split["split"] == "test", "content"])
    assert tested
    assert not tested & set(first["training"]["contents"])
    assert set(first["training"]["contents"]) <= set(second["training"]["contents"])


def compared(out, first, other, *, margin, metric="pooled_ap50"):
    """Compare two runs as a CI does: exit code of the command, and its JSON."""
    command = [sys.executable, ROOT / "workflow/scripts/compare_runs.py", f"--run={first}", f"--run={other}"]
    command += [f"--margin={margin}", f"--metric={metric}", f"--out={out}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 1), result.stderr
    assert file_errors("comparison", out / "comparison.json") == []
    return result.returncode, json.loads((out / "comparison.json").read_text())


def test_several_seeds_make_one_model_and_the_report_tells_their_spread(cohort, snakemake, tiny, tmp_path):
    shutil.copyfile(cohort / "slides.tsv", tmp_path / "slides.tsv")
    config = tiny | {"slides": "slides.tsv", "training": tiny["training"] | {"seeds": [0, 7]}}
    result = snakemake(tmp_path, config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    results = tmp_path / "results"
    weights = [at / "model.safetensors" for at in (results / "seeds/0", cohort / "results/model")]
    assert weights[0].read_bytes() == weights[1].read_bytes()  # The seed alone decides.
    model = json.loads((tmp_path / MODEL).read_text())
    assert model["architecture"]["members"] == 2
    assert [member["seed"] for member in model["training"]["members"]] == [0, 7]
    assert file_errors("model", tmp_path / MODEL) == []
    assert file_errors("summary", results / "report/summary.json") == []
    rows = json.loads((results / "report/summary.json").read_text())["seeds"]
    assert {(row["split"], row["measure"]) for row in rows} == {
        (split, measure) for split in ("val", "test") for measure in ("dice", "ap50", "map")
    }
    for row in rows:
        assert list(row["seeds"]) == ["0", "7"]
        assert row["mean"] == pytest.approx(sum(row["seeds"].values()) / 2)
    assert "standard deviation" in (results / "report/report.html").read_text()
    status, content = compared(tmp_path / "itself", tmp_path, tmp_path, margin=0)
    assert status == 0
    row = next(row for row in content["seeds"] if row["measure"] == "ap50")
    known = next(r for r in rows if (r["split"], r["measure"]) == ("test", "ap50"))
    assert row["runs"]["A"] == {key: known[key] for key in ("seeds", "mean", "deviation", "joined")}
    assert list(row["runs"]["B"]["seeds"]) == ["0", "7"]
    assert row["differences"]["B"]["difference"] == 0
    status, content = compared(tmp_path / "other", cohort, tmp_path, margin=2)
    assert status == 0  # No metric can lose more than 1.
    assert all(set(row["runs"]) == {"B"} and row["differences"] == {} for row in content["seeds"])
    dice = {d["metric"]: d["difference"] for d in content["differences"]}["pooled_dice"]
    worse, better = (cohort, tmp_path) if dice > 0 else (tmp_path, cohort)
    assert compared(tmp_path / "worse", better, worse, margin=0, metric="pooled_dice")[0] == 1 or dice == 0
    states = {path: path.stat().st_mtime_ns for path in (results / "seeds/state").glob("*/*")}
    config |= {"training": tiny["training"] | {"seeds": [0, 7, 8]}}
    result = snakemake(tmp_path, MODEL, config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((tmp_path / MODEL).read_text())["architecture"]["members"] == 3
    assert len(list((results / "seeds/state").iterdir())) == 3
    assert states == {path: path.stat().st_mtime_ns for path in states}  # The first two are not repeated.


def test_one_command_finds_the_cells_of_a_folder_of_images(cohort, tmp_path):
    (tmp_path / "images").mkdir()
    shutil.copyfile(cohort / "f6.tif", tmp_path / "images/new one.tif")
    binaries = Path(sys.executable).parent
    command = ["make", "predict", f"IMAGES={tmp_path}/images", f"MODEL={cohort}/results/model"]
    command += [f"OUT={tmp_path}/out", f"BIN={binaries}", "CORES=2"]
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    for _ in range(2):  # the second time there is nothing to do
        result = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
    (table,) = (tmp_path / "out/results/cells").glob("*.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(table), pd.read_parquet(cohort / "results/cells/f6.parquet")
    )
    assert "Nothing to be done" in result.stdout + result.stderr
