"""Correct and learn again, as in docs/correct.md: from predicted cells to the next model and its test."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from slideunet.stores.verified import open_label_store
from slideunet.truth.ignore_label import IGNORE_LABEL

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent
REGION = (slice(10, 70), slice(5, 75))
UNJUDGED = 65535


def make(*arguments):
    command = ["make", *arguments, f"BIN={BINARIES}", "CORES=2"]
    path = f"{BINARIES}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def rectangle(rows, columns):
    corners = [(columns.start, rows.start), (columns.stop, rows.start), (columns.stop, rows.stop)]
    corners += [(columns.start, rows.stop), (columns.start, rows.start)]
    return {"type": "Polygon", "coordinates": [[list(corner) for corner in corners]]}


def as_qupath_writes(feature, kind, name=None):
    """A feature after QuPath has read and written it: it keeps no properties that it does not know."""
    known = {"objectType": kind, "isLocked": False}
    known |= {"classification": {"name": name, "color": [200, 0, 0]}} if name else {}
    kept = {key: feature["properties"][key] for key in ("name", "measurements") if "properties" in feature}
    return {"type": "Feature", "id": feature.get("id"), "geometry": feature["geometry"]} | {
        "properties": known | kept
    }


def correct_outlines(packed, corrected):
    """Delete the first cell in the region, draw another by hand, and mark the region; return the truth."""
    features = json.loads(gzip.decompress(packed.read_bytes()))["features"]
    labels = open_label_store(packed.parents[1] / f"predictions/{corrected.stem}.json", "cells")[:].copy()
    wrong = int(labels[REGION][labels[REGION] > 0][0])
    drawn = (slice(20, 30), slice(40, 48))
    # A hand deletes what is below the cell that it draws.
    below = set(np.unique(labels[drawn])) | {wrong}
    kept = [feature for feature in features if feature["properties"]["cell"] not in below]
    document = [as_qupath_writes({"geometry": rectangle(*REGION)}, "annotation", "Region*")]
    document += [as_qupath_writes(feature, "detection") for feature in kept]
    document += [as_qupath_writes({"geometry": rectangle(*drawn)}, "annotation")]
    corrected.write_text(json.dumps({"type": "FeatureCollection", "features": document}))
    labels[np.isin(labels, list(below))] = 0
    labels[drawn] = labels.max() + 1
    return outside_ignored(labels, IGNORE_LABEL)


def outside_ignored(labels, value):
    kept = np.full_like(labels, value)
    kept[REGION] = labels[REGION]
    return kept


def test_cells_that_were_corrected_teach_the_model_that_predicted_them(
    cohort, snakemake, tiny, write_field, tmp_path
):
    images, corrected = tmp_path / "images", tmp_path / "corrected"
    for folder in (images, corrected):
        folder.mkdir()
    names = ["a 1", "b", "c", "d"]
    for i, name in enumerate(names):
        write_field(tmp_path, name, seed=70 + i, donor=30 + i)
        (tmp_path / f"{name}.tif").rename(images / f"{name}.tif")
    make("predict", f"IMAGES={images}", f"MODEL={cohort}/results/model", f"OUT={tmp_path}/predicted")
    found = tmp_path / "predicted/results"

    # One image is corrected as outlines, one as labels (here by the truth); one is judged whole, as test.
    outlines = correct_outlines(found / "cells/a-1.geojson.gz", corrected / "a-1.geojson")
    by_brush = tifffile.imread(tmp_path / "b_labels.tif")
    tifffile.imwrite(corrected / "b.tif", outside_ignored(by_brush, UNJUDGED))
    (tmp_path / "c_labels.tif").rename(corrected / "c.tif")
    make("sheet", f"IMAGES={images}", f"LABELS={corrected}", f"OUT={tmp_path}/slides.tsv")
    sheet = pd.read_csv(tmp_path / "slides.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert (sheet["labels"] == "").tolist() == [False, False, False, True]
    sheet["split"] = ["train", "val", "test", "predict"]
    sheet.to_csv(tmp_path / "slides.tsv", sep="\t", index=False)

    config = tiny | {"slides": "slides.tsv", "data": {"ignore_label": UNJUDGED}}
    before = str(cohort / "results/model")
    result = snakemake(
        tmp_path, config=config | {"training": tiny["training"] | {"init_from": before, "epochs": 1}}
    )
    assert result.returncode == 0, result.stdout + result.stderr

    after = json.loads((tmp_path / "results/model/model.json").read_text())["training"]
    assert after["init_from"] == json.loads((cohort / "results/model/model.json").read_text())["sha256"]
    truth = open_label_store(tmp_path / "results/slides/a-1.json", "truth")[:]
    np.testing.assert_array_equal(truth == IGNORE_LABEL, outlines == IGNORE_LABEL)
    np.testing.assert_array_equal(truth > 0, outlines > 0)
    assert len(np.unique(truth)) == len(np.unique(outlines))
    report = json.loads((tmp_path / "results/report/summary.json").read_text())
    assert report["splits"]["test"]["n_slides"] == 1
    share = f"{1 - 60 * 70 / (97 * 83):.1%} of the pixels are ignored"
    page = (tmp_path / "results/report/report.html").read_text()
    for slide, reason in (("a-1", "outside of Region*"), ("b", f"the value {UNJUDGED}")):
        assert any(warning.startswith(f"slide {slide}: {share} ({reason}") for warning in report["warnings"])
    assert page.count(share) == 2
