"""A run with one slide: converted, predicted with mistakes, labelled, measured and scored."""

import numpy as np
import pytest

from slideunet.stores.manifests import read_manifest
from slideunet.stores.verified import open_label_store
from slideunet.viewing.viewed_slide import find_slide


@pytest.fixture(scope="session")
def make_run(convert_cells, write_store):
    from score_slides import score_once
    from slideunet.cells.export.export_slide import export_cells, export_fingerprint

    def make(folder, version="0.5"):
        results = folder / "results"
        image = convert_cells(results)
        cells = np.asarray(open_label_store(image, "truth")[:])
        cells[cells == 1] = 0
        numbers = np.cumsum(np.bincount(cells.ravel()) > 0) - 1
        cells = numbers[cells].astype(np.uint32)
        cells[3:9, 3:9] = cells.max() + 1
        probability = np.where(cells > 0, 240, 5).astype(np.uint8)[None]
        facts = {"n_cells": int(cells.max()), "first_ids": [1], "reach": 64, "unfinished": 0}
        facts |= {"threshold": 0.5, "fingerprint": "c"}
        predicted = results / "predictions" / "S1.json"
        write_store(
            predicted,
            probability,
            scale=1.0,
            mpp=0.5,
            version=version,
            labels=cells,
            name="cells",
            cells=facts,
        )
        table = results / "cells" / "S1.parquet"
        table.parent.mkdir()
        export_cells(
            image, predicted, table, table.with_suffix(".geojson.gz"), export_fingerprint(image, predicted)
        )
        (results / "metrics").mkdir()
        score_once("S1", image, predicted, results / "metrics" / "S1.json", "bright")
        assert read_manifest(predicted)["cells"]["n_cells"] > 10
        return folder

    return make


@pytest.fixture(scope="session")
def viewed_run(tmp_path_factory, make_run):
    """The folder of the run; not to be changed."""
    return make_run(tmp_path_factory.mktemp("viewed") / "a 'run'")


@pytest.fixture(scope="session")
def viewed(viewed_run):
    return find_slide(viewed_run, "S1")
