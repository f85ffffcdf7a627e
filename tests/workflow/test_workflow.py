"""The whole workflow on a tiny cohort: once for all tests of this file."""

import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from slideunet.demo.drawing import draw
from slideunet.demo.scene import Scene
from slideunet.images.stores import open_image_store, open_label_store, read_manifest

ROOT = Path(__file__).parents[2]

COLUMNS = {
    *("slide", "group", "split", "n_true", "n_pred", "accuracy", "precision", "recall"),
    *("dice", "iou", "ap50", "ap75", "map", "f1_50", "pq", "aji"),
}


def write_field(folder, name, seed, donor):
    scene = Scene("fluorescence", seed=seed, donor_seed=donor, height=97, width=83, density=1.2)
    image, labels = draw(scene.region, scene)
    tifffile.imwrite(folder / f"{name}.tif", image[0])
    tifffile.imwrite(
        folder / f"{name}_labels.tif", np.unique(labels, return_inverse=True)[1].astype(np.uint16)
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, snakemake, tiny):
    """Six labelled fields of four donors and one unlabelled, run to the end."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = [f"f{i}" for i in range(7)]
    for i, name in enumerate(rows):
        write_field(folder, name, seed=i, donor=i % 4)
    lines = ["slide\timage\tlabels\tgroup\tstain"]
    lines += [
        f"{name}\t{name}.tif\t{name}_labels.tif\tdonor{i % 4}\ts{i % 2}" for i, name in enumerate(rows[:6])
    ]
    (folder / "slides.tsv").write_text("\n".join([*lines, "f6\tf6.tif\t\tdonor9\ts0"]) + "\n")
    result = snakemake(folder, config=tiny | {"slides": "slides.tsv", "report": {"by": ["stain"]}})
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_every_output_of_the_contract_is_there(cohort):
    results = cohort / "results"
    for slide in (f"f{i}" for i in range(7)):
        for part in ("slides", "predictions"):
            assert read_manifest(results / part / f"{slide}.json")["slide"] == slide
        assert (results / "cells" / f"{slide}.parquet").is_file()
    split = pd.read_csv(results / "split.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert list(split.columns) == ["slide", "group", "stratum", "split", "n_objects", "content"]
    assert dict(zip(split["slide"], split["split"], strict=True))["f6"] == "predict"
    assert split.groupby("group")["split"].nunique().max() == 1
    for name in ("model.safetensors", "model.json", "history.csv", "curves.png", "patches.png"):
        assert (results / "model" / name).stat().st_size > 0
    assert len(pd.read_csv(results / "model" / "history.csv")) == 2
    for rule in ("check_inputs", "train_unet", "build_report"):
        assert (cohort / "logs" / f"{rule}.log").is_file()
        assert (cohort / "benchmarks" / f"{rule}.tsv").is_file()


def test_metrics_have_a_row_per_labelled_slide_and_all_columns(cohort):
    with (cohort / "results/report/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["slide"] for row in rows) == [f"f{i}" for i in range(6)]
    assert rows[0].keys() >= COLUMNS
    for row in rows:
        truth = open_label_store(cohort / "results/slides" / f"{row['slide']}.json", "truth")[:] > 0
        cells = open_label_store(cohort / "results/predictions" / f"{row['slide']}.json", "cells")[:] > 0
        total = truth.sum() + cells.sum()
        dice = 2 * (truth & cells).sum() / total if total else 1.0
        assert float(row["dice"]) == pytest.approx(dice, abs=1e-4)


def test_the_same_ids_are_in_labels_table_and_polygons(cohort):
    n_cells = 0
    for slide in (f"f{i}" for i in range(7)):
        cells = open_label_store(cohort / "results/predictions" / f"{slide}.json", "cells")[:]
        ids = np.unique(cells[cells > 0]).tolist()
        table = pd.read_parquet(cohort / "results/cells" / f"{slide}.parquet")
        polygons = json.loads(
            gzip.decompress((cohort / "results/cells" / f"{slide}.geojson.gz").read_bytes())
        )
        assert table["cell"].tolist() == ids == list(range(1, len(ids) + 1))
        assert [feature["properties"]["cell"] for feature in polygons["features"]] == ids
        n_cells += len(ids)
    assert n_cells > 0


def test_predictions_are_probabilities_on_the_grid_of_the_slide(cohort):
    image = open_image_store(cohort / "results/slides/f0.json")
    probability = open_image_store(cohort / "results/predictions/f0.json")
    assert (probability.shape, str(probability.dtype)) == ((1, *image.shape[1:]), "uint8")


def test_the_report_is_one_file_that_names_every_test_slide(cohort):
    page = (cohort / "results/report/report.html").read_text()
    split = pd.read_csv(cohort / "results/split.tsv", sep="\t", dtype=str)
    for slide in split.loc[split["split"] == "test", "slide"]:
        assert slide in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "<script" not in page


def test_a_second_run_has_nothing_to_do(cohort, snakemake):
    result = snakemake(cohort)
    assert result.returncode == 0
    assert "Nothing to be done" in result.stdout + result.stderr


def test_snakemakes_own_report_is_made(cohort, snakemake):
    result = snakemake(cohort, "--report", "snakemake_report.html")
    assert result.returncode == 0, result.stderr
    assert (cohort / "snakemake_report.html").stat().st_size > 100_000


def times(folder):
    """The modification times of everything that is kept per slide, and of the weights."""
    parts = ("slides", "predictions", "cells", "metrics")
    kept = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in [*kept, folder / "model/state"]}


def test_one_more_slide_redoes_that_slide_and_the_report_only(cohort, snakemake):
    before = times(cohort / "results")
    write_field(cohort, "g1", seed=77, donor=8)
    with (cohort / "slides.tsv").open("a") as sheet:
        sheet.write("g1\tg1.tif\t\tdonor8\ts1\n")
    result = snakemake(cohort)
    assert result.returncode == 0, result.stdout + result.stderr
    after = times(cohort / "results")
    assert {str(path) for path in after if after[path] != before.get(path) and "g1" not in str(path)} == set()
    assert (cohort / "results/cells/g1.parquet").is_file()
    assert "g1" in (cohort / "results/report/report.html").read_text()


def test_a_trained_model_predicts_without_training(cohort, snakemake, tmp_path):
    (tmp_path / "slides.tsv").write_text(f"slide,image\nS1,{cohort}/f6.tif\n")
    model = {"weights": str(cohort / "results/model")}
    config = {"slides": "slides.tsv", "model": model, "cells": {"ome_tiff": True}}
    result = snakemake(tmp_path, config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not (tmp_path / "results/model").exists()
    labels = tifffile.imread(tmp_path / "results/cells/S1.ome.tif")
    np.testing.assert_array_equal(
        labels, open_label_store(tmp_path / "results/predictions/S1.json", "cells")[:]
    )
    found = open_image_store(tmp_path / "results/predictions/S1.json")[:]
    np.testing.assert_array_equal(found, open_image_store(cohort / "results/predictions/f6.json")[:])
    assert (tmp_path / "results/report/report.html").is_file()


def test_a_run_that_was_asked_for_one_file_names_no_report(snakemake, tiny, tmp_path):
    write_field(tmp_path, "f0", seed=0, donor=0)
    (tmp_path / "slides.tsv").write_text("slide\timage\nf0\tf0.tif\n")
    config = tiny | {"slides": "slides.tsv", "model": {"weights": "nuclei-fluorescence"}}
    result = snakemake(tmp_path, "results/inputs.tsv", config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "results/inputs.tsv").is_file()
    assert "The report" not in result.stdout + result.stderr


def test_a_training_that_begins_with_a_model_is_not_tested_on_what_that_has_seen(
    cohort, snakemake, tiny, tmp_path
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
    result = snakemake(tmp_path, config=tiny | {"slides": "slides.tsv", "training": training})
    assert result.returncode == 0, result.stdout + result.stderr
    first, second = (json.loads((at / "results/model/model.json").read_text()) for at in (cohort, tmp_path))
    assert second["training"]["init_from"] == first["sha256"]
    split = pd.read_csv(tmp_path / "results/split.tsv", sep="\t", dtype=str)
    tested = set(split.loc[split["split"] == "test", "content"])
    assert tested
    assert not tested & set(first["training"]["contents"])
    assert set(first["training"]["contents"]) <= set(second["training"]["contents"])


def test_several_seeds_make_one_model_and_the_report_tells_their_spread(cohort, snakemake, tiny, tmp_path):
    shutil.copytree(
        cohort, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("results", ".snakemake")
    )
    config = tiny | {"slides": "slides.tsv", "training": tiny["training"] | {"seeds": [0, 7]}}
    result = snakemake(tmp_path, config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    results = tmp_path / "results"
    weights = [at / "model.safetensors" for at in (results / "seeds/0", cohort / "results/model")]
    assert weights[0].read_bytes() == weights[1].read_bytes()  # The seed alone decides.
    model = json.loads((results / "model/model.json").read_text())
    assert model["architecture"]["members"] == 2
    assert [member["seed"] for member in model["training"]["members"]] == [0, 7]
    rows = json.loads((results / "report/summary.json").read_text())["seeds"]
    assert {(row["split"], row["measure"]) for row in rows} == {
        (split, measure) for split in ("val", "test") for measure in ("dice", "ap50", "map")
    }
    for row in rows:
        assert list(row["seeds"]) == ["0", "7"]
        assert row["mean"] == pytest.approx(sum(row["seeds"].values()) / 2)
    assert "standard deviation" in (results / "report/report.html").read_text()
    states = {path: path.stat().st_mtime_ns for path in (results / "model/state").glob("*/*")}
    result = snakemake(tmp_path, config=config | {"training": tiny["training"] | {"seeds": [0, 7, 8]}})
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((results / "model/model.json").read_text())["architecture"]["members"] == 3
    assert len(list((results / "model/state").iterdir())) == 3
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
