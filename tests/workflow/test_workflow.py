"""The whole workflow on a tiny cohort: what it writes, and what it does when it is run again."""

import csv
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from schemas import file_errors

from slideunet.stores.manifests import read_manifest
from slideunet.stores.verified import open_image_store, open_label_store

COLUMNS = {
    *("slide", "group", "split", "n_true", "n_pred", "accuracy", "precision", "recall"),
    *("dice", "iou", "ap50", "ap75", "map", "f1_50", "pq", "aji"),
}


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
    for rule in ("check_inputs", "train_unet/0", "build_report"):
        assert (cohort / "logs" / f"{rule}.log").is_file()
        assert (cohort / "benchmarks" / f"{rule}.tsv").is_file()
    for name in ("model.safetensors", "model.json", "history.csv", "curves.png", "patches.png"):
        assert (results / "seeds/0" / name).read_bytes() == (results / "model" / name).read_bytes()


def test_all_json_follows_its_schema(cohort):
    results = cohort / "results"
    folders = {"slide": "slides", "prediction": "predictions", "metrics": "metrics", "model": "model"}
    files = [
        (kind, path) for kind, folder in folders.items() for path in (results / folder).glob("[!.]*.json")
    ]
    files.append(("summary", results / "report" / "summary.json"))
    assert len(files) == 7 + 7 + 6 + 1 + 1
    assert [error for kind, path in files for error in file_errors(kind, path)] == []
    provenance = read_manifest(results / "report" / "summary.json")["provenance"]
    jobs = {rule["rule"]: rule["jobs"] for rule in provenance["rules"]}
    assert {"train_unet", "predict_slides", "score_slides"} <= set(jobs) and "build_report" not in jobs


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


def test_the_report_names_every_test_slide_and_links_to_the_files_beside_it(cohort):
    page = (cohort / "results/report/report.html").read_text()
    split = pd.read_csv(cohort / "results/split.tsv", sep="\t", dtype=str)
    for slide in split.loc[split["split"] == "test", "slide"]:
        assert slide in page
    assert not re.search(r"""(src|href)=["'](?!data:|#|files/)""", page)
    linked = re.findall(r'href="(files/[^"]+)"', page)
    assert {Path(path).stem for path in linked} >= {"curves", "precision", "counts"}
    assert all((cohort / "results/report" / path).is_file() for path in linked)


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
    return {path: path.stat().st_mtime_ns for path in [*kept, folder / "seeds/state"]}


def test_one_more_slide_redoes_that_slide_and_the_report_only(cohort, snakemake, write_field):
    before = times(cohort / "results")
    write_field(cohort, "g1", seed=77, donor=8)
    with (cohort / "slides.tsv").open("a") as sheet:
        sheet.write(f"g1\t{cohort}/g1.tif\t\tdonor8\ts1\n")
    result = snakemake(cohort)
    assert result.returncode == 0, result.stdout + result.stderr
    after = times(cohort / "results")
    assert {str(path) for path in after if after[path] != before.get(path) and "g1" not in str(path)} == set()
    assert (cohort / "results/cells/g1.parquet").is_file()
    assert "g1" in (cohort / "results/report/report.html").read_text()


def test_a_run_that_was_asked_for_one_file_names_no_report(snakemake, tiny, write_field, tmp_path):
    write_field(tmp_path, "f0", seed=0, donor=0)
    (tmp_path / "slides.tsv").write_text("slide\timage\nf0\tf0.tif\n")
    config = tiny | {"slides": "slides.tsv", "model": {"weights": "nuclei-fluorescence"}}
    result = snakemake(tmp_path, "results/inputs.tsv", config=config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "results/inputs.tsv").is_file()
    assert "The report" not in result.stdout + result.stderr
