import gzip
import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

import measure_cells
from slideunet.stores import manifests


@pytest.fixture
def folder(tmp_path, write_store):
    cells = np.zeros((61, 47), np.uint32)
    cells[5:12, 30:40], cells[20:31, 2:9] = 1, 2
    image = np.stack([cells * 10, cells * 20 + 1]).astype(np.uint16)
    for slide, labels in (("S1", cells), ("empty", cells * 0)):
        facts = {"slide": slide, "channels": ["a", "b"], "mpp": 0.5, "scale": 2.0}
        write_store(tmp_path / f"slides/{slide}.json", image, **facts)
        cells_facts = {"fingerprint": "c", "n_cells": int(labels.max()), "first_ids": [1], "reach": 0}
        write_store(
            tmp_path / f"predictions/{slide}.json", np.full((1, 61, 47), 255, np.uint8),
            labels=labels, name="cells", cells=cells_facts,
        )  # fmt: skip
    return tmp_path


@pytest.fixture
def run(folder, dask_section):
    return partial(measure, folder, dask_section)


def measure(folder, dask_section):
    measure_cells.main(
        slides=["S1", "empty"],
        slides_folder=folder / "slides",
        predictions_folder=folder / "predictions",
        cells_folder=folder / "cells",
        manifest=folder / "batch.json",
        dask=dask_section,
    )


def features(folder, slide):
    return json.loads(gzip.decompress((folder / f"cells/{slide}.geojson.gz").read_bytes()))["features"]


def test_table_and_polygons_hold_the_same_cells(folder, run):
    run()
    table = pd.read_parquet(folder / "cells/S1.parquet")
    assert table["cell"].tolist() == [f["properties"]["cell"] for f in features(folder, "S1")] == [1, 2]
    assert table["area"].tolist() == [70, 77]
    assert table["mean_b"].tolist() == [21, 41]
    assert table["y"].tolist() == [17.0, 51.0]
    assert set(json.loads((folder / "batch.json").read_text())) == {"S1", "empty"}


def test_a_slide_without_cells_has_an_empty_table_of_the_same_columns(folder, run):
    run()
    full, empty = (pd.read_parquet(folder / f"cells/{slide}.parquet") for slide in ("S1", "empty"))
    assert len(empty) == 0
    pd.testing.assert_series_equal(full.dtypes, empty.dtypes)
    assert features(folder, "empty") == []


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}


def test_only_what_changed_is_done_again(folder, run):
    run()
    before = times(folder)
    run()
    assert times(folder) == before
    manifest = folder / "predictions/S1.json"
    facts = manifests.read_manifest(manifest)
    facts["cells"]["fingerprint"] = "new"
    manifests.write_manifest(manifest, facts)
    run()
    changed = {name for name, time in times(folder).items() if time != before[name]}
    assert changed == {".S1.parquet.lock", "S1.parquet", "S1.geojson.gz"}


@pytest.mark.parametrize("name", ["S1.parquet", "S1.geojson.gz"])
def test_a_lost_file_is_made_again_identically(folder, run, name):
    run()
    path = folder / "cells" / name
    before = path.read_bytes()
    path.unlink()
    run()
    assert path.read_bytes() == before
