"""The sheet of a test, and runs to be reported: hostile text wherever a user's text is shown."""

import functools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from skimage.measure import label

from slideunet.scoring.pixel_metrics import count_pixels
from slideunet.stores.manifests import write_manifest

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def write_sheet(tmp_path):
    """Write rows as a sample sheet and return its path."""

    def write(rows):
        path = tmp_path / "sheet.tsv"
        pd.DataFrame(rows).to_csv(path, sep="\t", index=False)
        return path

    return write


def write_slide(write_store, results, slide, seed, *, labelled, size=(70, 55), empty=""):
    random = np.random.default_rng(seed)
    seeds = random.random(size) < (0 if empty == "truth" else 0.01)
    truth = label(np.kron(seeds, np.ones((3, 3)))[: size[0], : size[1]], connectivity=1).astype(np.uint32)
    found = random.random(truth.max() + 1) < (0 if empty == "prediction" else 0.9)
    cells = np.where(found, np.arange(truth.max() + 1), 0)[truth].astype(np.uint32)
    if empty == "truth":
        cells[20:30, 20:30] = 1
    image = (random.normal(50, 5, (1, *size)) + 90 * (truth > 0)).astype(np.uint8)
    n_objects = int(truth.max()) if labelled else None
    write_store(
        results / "slides" / f"{slide}.json",
        image,
        labels=truth if labelled else None,
        n_objects=n_objects,
        warnings=[f"odd mask {HOSTILE}"] if seed == 0 else [],
        statistics=[{"min": 30.0, "low": 40.0, "high": 150.0, "max": 160.0}],
        scale=2.0,
    )
    facts = {
        "fingerprint": "c",
        "n_cells": len(np.unique(cells)) - 1,
        "method": "watershed",
        "threshold": 0.5,
    }
    probability = (cells > 0).astype(np.uint8)[None] * 255
    prediction = results / "predictions" / f"{slide}.json"
    write_store(prediction, probability, labels=cells, name="cells", cells=facts)
    return count_pixels(truth > 0, cells > 0)


def build(folder, **options):
    """Build the report of a run in `folder`; return its page, the path of its table, and its summary."""
    import build_report

    results = folder / "results"
    arguments = {
        "split_table": results / "split.tsv",
        "sheet": folder / "sheet.tsv",
        "slides_folder": results / "slides",
        "predictions_folder": results / "predictions",
        "metrics_folder": results / "metrics",
        "model": results / "model.json",
        "history": results / "history.csv",
        "quarantine_folder": results / "quarantine",
        "config": {"note": HOSTILE},
        "title": HOSTILE,
        "by": ["site"],
        "date": "2000-01-02",
        "page": results / "report" / "report.html",
        "table": results / "report" / "metrics.csv",
        "summary": results / "report" / "summary.json",
        "files": results / "report" / "files",
    }

    build_report.main(**arguments | options)
    summary = json.loads(arguments["summary"].read_text())
    return arguments["page"].read_text(encoding="utf-8"), arguments["table"], summary


@pytest.fixture
def report(tmp_path):
    return functools.partial(build, tmp_path)


@pytest.fixture(scope="module")
def scored(tmp_path_factory, write_store):
    """A folder with all that a report needs, made once for equal arguments, and the true counts.

    `names` are the ids (numbers by default); `empty` has pairs of an id and of what has no cell there,
    "truth" or "prediction".
    """
    import score_slides

    @functools.cache
    def make(splits, groups, size, names, empty):
        folder = tmp_path_factory.mktemp("scored")
        results = folder / "results"
        rows, truths = [], {}
        for number, split in enumerate(splits):
            slide = names[number] if names else f"{number:03d}"
            facts = {"labelled": split != "predict", "size": size, "empty": dict(empty).get(slide, "")}
            truths[slide] = write_slide(write_store, results, slide, number, **facts)
            group = groups[number] if groups else f"g{number}"
            row = {"slide": slide, "group": group, "stratum": "", "split": split, "n_objects": ""}
            rows.append(row | {"content": f"c{number}", "site": HOSTILE if number % 2 else "=1+1"})
        table = pd.DataFrame(rows)
        table.drop(columns="site").to_csv(results / "split.tsv", sep="\t", index=False)
        table[["slide", "group", "site"]].to_csv(folder / "sheet.tsv", sep="\t", index=False)
        training = {"best_epoch": 2, "val_dice": 0.9, "seed": 0, "seconds": 60.0}
        model = {"architecture": {"depth": 2}, "threshold": 0.5, "training": training, "sha256": "ab" * 32}
        write_manifest(results / "model.json", model)
        curve = {
            "train_loss": [0.5, 0.2],
            "val_loss": [0.6, 0.3],
            "train_dice": [0.5, 0.8],
            "val_dice": [0.4, 0.7],
        }
        pd.DataFrame({"epoch": [1, 2], **curve}).to_csv(results / "history.csv", index=False)
        score_slides.main(
            slides=[row["slide"] for row in rows],
            slides_folder=results / "slides",
            predictions_folder=results / "predictions",
            metrics_folder=results / "metrics",
            manifest=results / "metrics" / "b" / "b.json",
        )
        return folder, truths

    return make


@pytest.fixture(scope="module")
def make_run_in(scored):
    def make(folder, splits, groups=(), size=(70, 55), names=(), empty=(), **options):
        made, truths = scored(tuple(splits), tuple(groups), size, tuple(names), tuple(empty))
        shutil.copytree(made, folder, dirs_exist_ok=True)
        return build(folder, **options), truths

    return make


@pytest.fixture
def make_run(tmp_path, make_run_in):
    return functools.partial(make_run_in, tmp_path)
