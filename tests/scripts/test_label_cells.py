import json
from functools import partial

import numpy as np
import pytest
from skimage.draw import disk

import label_cells
from slideunet.stores import manifests, omezarr, verified


@pytest.fixture
def folder(tmp_path, write_store):
    probability = np.zeros((1, 300, 277), np.uint8)
    for centre in ((200, 40), (40, 60), (40, 77)):
        probability[0][disk(centre, 10)] = 200
    for slide in ("S1", "S2"):
        manifest = tmp_path / "predictions" / f"{slide}.json"
        write_store(manifest, probability, fingerprint=f"p-{slide}", mpp=0.5)
    facts = {"architecture": {}, "normalisation": "percentile", "sha256": "", "background": "dark"}
    facts |= {"halo": 96, "precision": "fp32"}
    manifests.write_manifest(tmp_path / "model.json", {"threshold": 0.5, **facts})
    return tmp_path


@pytest.fixture
def run(folder, dask_section):
    return partial(label, folder, dask_section)


def label(folder, dask_section, **changes):
    threshold = changes.pop("threshold", "tuned")
    cells = {"method": "auto", "min_area": 10, "min_probability": "tuned"} | changes
    label_cells.main(
        slides=["S1", "S2"],
        predictions_folder=folder / "predictions",
        model=folder,
        ome_zarr="0.5",
        manifest=folder / "batch.json",
        dask=dask_section,
        threshold=threshold,
        cells=cells,
    )
    batch = json.loads((folder / "batch.json").read_text())
    assert set(batch) == {"S1", "S2"}
    return {
        slide: manifests.read_manifest(folder / f"predictions/{slide}.json")["cells"]["n_cells"]
        for slide in batch
    }


def cells_of(folder, slide="S1"):
    return verified.open_label_store(folder / "predictions" / f"{slide}.json", "cells")


def test_cells_are_written_into_the_store_and_told_in_the_manifest(folder, run):
    assert run() == {"S1": 3, "S2": 3}
    cells = cells_of(folder)
    assert cells.dtype == np.uint32
    assert [cells[40, 60], cells[40, 77], cells[200, 40]] == [1, 2, 3]
    facts = manifests.read_manifest(folder / "predictions/S1.json")
    assert facts["fingerprint"] == "p-S1"
    assert facts["cells"] | {"fingerprint": "", "blocks": []} == {
        "fingerprint": "", "n_cells": 3, "threshold": 0.5, "method": "watershed", "min_area": 10,
        "merge_ratio": None, "min_probability": 0.0, "blocks": [], "first_ids": [1], "reach": 0,
        "unfinished": 0,
    }  # fmt: skip
    store = manifests.store_path(folder / "predictions/S1.json")
    assert omezarr.metadata(store / "labels")["labels"] == ["cells"]


def test_the_merge_ratio_of_the_model_is_used_and_a_new_one_labels_anew(folder, run):
    assert run() == {"S1": 3, "S2": 3}
    facts = json.loads((folder / "model.json").read_text())
    tuned = {"watershed": {"ap50": 1.0, "map": 1.0, "merge_ratio": 0.0}}
    manifests.write_manifest(folder / "model.json", facts | {"decodings": tuned})
    # The two discs that touch are one cell at any saddle between them.
    assert run() == {"S1": 2, "S2": 2}
    assert manifests.read_manifest(folder / "predictions/S1.json")["cells"]["merge_ratio"] == 0.0


def test_the_least_probability_is_that_of_the_model_unless_a_run_asks_for_another(folder, run):
    facts = json.loads((folder / "model.json").read_text())
    tuned = {"watershed": {"ap50": 1.0, "map": 1.0, "min_probability": 0.8}}
    manifests.write_manifest(folder / "model.json", facts | {"decodings": tuned})
    # The cells have 200 of 255.
    assert run() == {"S1": 0, "S2": 0}
    assert run(min_probability=0.78) == {"S1": 3, "S2": 3}
    assert run(min_probability=0) == {"S1": 3, "S2": 3}


def test_only_what_changed_is_done_again(folder, run):
    run()
    before = {slide: chunk_times(folder, slide) for slide in ("S1", "S2")}
    manifest = folder / "predictions/S2.json"
    manifests.write_manifest(manifest, manifests.read_manifest(manifest) | {"fingerprint": "new"})
    run()
    assert chunk_times(folder, "S1") == before["S1"]
    assert chunk_times(folder, "S2") != before["S2"]


def chunk_times(folder, slide):
    cells = manifests.store_path(folder / "predictions" / f"{slide}.json") / "labels/cells"
    return {path: path.stat().st_mtime_ns for path in cells.rglob("*")}


@pytest.mark.parametrize("change", [{"threshold": 0.9}, {"method": "components"}, {"min_area": 400}])
def test_every_parameter_counts(run, change):
    run()
    assert run(**change)["S1"] < 3
    assert run()["S1"] == 3


def test_a_kill_before_the_manifest_is_made_good(folder, run):
    run()
    manifest = folder / "predictions/S1.json"
    known = manifests.read_manifest(manifest)
    del known["cells"]
    manifests.write_manifest(manifest, known)
    leftover = manifests.store_path(manifest) / "labels/.cells.0123456789abcdef.partial"
    leftover.mkdir()
    (leftover / "junk").touch()
    run()
    assert cells_of(folder)[:].max() == 3
    assert not leftover.exists()
