import gzip
import json

import numpy as np
import pandas as pd
import pytest
from making import measure_labels
from scipy import ndimage as ndi

from slideunet.cells.export import export_slide
from slideunet.cells.export.export_slide import export_cells, export_fingerprint
from slideunet.cells.export.geojson_writer import feature_lines
from slideunet.cells.export.outlines import outlines
from slideunet.cells.export.parquet import table_fingerprint
from slideunet.cells.measurement.regions import find_regions
from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.label_slide import label_slide
from slideunet.geometry.runs import runs_of
from slideunet.stores.verified import open_image_store, open_label_store


@pytest.fixture
def slide(tmp_path, write_store, small_blocks):
    """Manifests of a labelled slide of six blocks, its last ones without a cell."""
    random = np.random.default_rng(1)
    noise = ndi.gaussian_filter(random.normal(size=(700, 1100)), 4)
    probability = (127 + 127 * noise / abs(noise).max()).astype(np.uint8)
    probability[:, 1010:] = 0
    image = write_store(
        tmp_path / "slides/S1.json", random.integers(0, 255, (2, 700, 1100)).astype(np.uint8),
        fingerprint="i", mpp=0.5, slide="S1", channels=["a", "a"], scale=2.0,
    )  # fmt: skip
    prediction = write_store(tmp_path / "predictions/S1.json", probability[None], fingerprint="p")
    label_slide(prediction, "f" * 64, decoding=Decoding(0.6, "watershed"), version="0.5")
    return image, prediction


def run(slide, folder):
    table, polygons = folder / "S1.parquet", folder / "S1.geojson.gz"
    export_cells(*slide, table, polygons, export_fingerprint(*slide))
    return table, polygons


@pytest.mark.slow
def test_blocks_give_the_table_and_the_polygons_of_the_whole_slide(slide, tmp_path):
    table, polygons = run(slide, tmp_path / "cells")
    cells = open_label_store(slide[1], "cells")[:]
    image, probability = open_image_store(slide[0])[:], open_image_store(slide[1])[0]
    whole = measure_labels(cells, image, probability, ["a", "a"], 0.5, 2.0)
    squares = sum(
        (whole[axis].to_numpy()[:, None] - whole[axis].to_numpy()) ** 2 for axis in ("y_um", "x_um")
    )
    whole["neighbours"] = (squares <= 25**2).sum(axis=1) - 1
    found = pd.read_parquet(table)
    assert len(found) > 300
    assert found["neighbours"].max() > 5
    pd.testing.assert_frame_equal(found, whole, check_exact=True)
    read = json.loads(gzip.decompress(polygons.read_bytes()))["features"]
    geometries = outlines(find_regions(runs_of(cells)), 2.0)
    expected = [json.loads(line) for line in feature_lines("S1", geometries, whole)]
    assert read == expected
    assert table_fingerprint(table) == export_fingerprint(*slide)
    assert sorted(path.name for path in table.parent.iterdir()) == [
        ".S1.parquet.lock", "S1.geojson.gz", "S1.parquet",
    ]  # fmt: skip


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("step", ["measure_block", "finish_block"])
def test_an_interrupted_export_goes_on_to_the_same_bytes(slide, tmp_path, monkeypatch, step):
    expected = [path.read_bytes() for path in run(slide, tmp_path / "straight")]
    original, calls = getattr(export_slide, step), []

    def die(*args):
        calls.append(args)
        if len(calls) == 3:
            raise Killed
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(export_slide, step, die)
        run(slide, tmp_path / "killed")
    assert not (tmp_path / "killed/S1.parquet").exists()
    again = []
    monkeypatch.setattr(export_slide, step, lambda *args: again.append(args) or original(*args))
    assert [path.read_bytes() for path in run(slide, tmp_path / "killed")] == expected
    assert len(again) == 4


@pytest.mark.slow
def test_a_slide_without_cells_has_an_empty_table_with_all_columns(tmp_path, write_store, slide):
    empty = write_store(tmp_path / "empty/S1.json", np.zeros((1, 700, 1100), np.uint8), fingerprint="e")
    label_slide(empty, "0" * 64, decoding=Decoding(0.6, "watershed"), version="0.5")
    table, polygons = run((slide[0], empty), tmp_path / "cells")
    full, _ = run(slide, tmp_path / "full")
    assert len(pd.read_parquet(table)) == 0
    assert pd.read_parquet(table).dtypes.equals(pd.read_parquet(full).dtypes)
    assert json.loads(gzip.decompress(polygons.read_bytes()))["features"] == []
