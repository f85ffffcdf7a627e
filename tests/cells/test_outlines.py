import gzip
import json
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.features import rasterize

from slideunet.cells.measurement import measure
from slideunet.cells.outlines import feature_lines, outlines, write_geojson

images = hnp.arrays(
    np.uint32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 4)
)
LABELS = np.array([[1, 1, 1, 0], [1, 0, 1, 2], [1, 1, 1, 0], [0, 0, 0, 2]], np.uint32)


def measured(labels, mpp=None):
    image = np.zeros((1, *labels.shape), np.uint8)
    return measure(labels, image, np.zeros(labels.shape, np.uint8), ["grey"], mpp)


def export(path, labels, slide="S1", mpp=None, scale=1.0):
    write_geojson(path, feature_lines(slide, outlines(labels, scale), measured(labels, mpp)))
    return json.loads(gzip.decompress(path.read_bytes()), parse_constant=pytest.fail)


def geometry(parts, scale):
    return {
        "type": "MultiPolygon",
        "coordinates": [[[(x / scale, y / scale) for x, y in ring] for ring in part] for part in parts],
    }


@settings(max_examples=200, deadline=None)
@given(images, st.sampled_from([1.0, 4.0, 0.5, 1.7321]))
def test_rasterising_the_outlines_gives_the_labels_back(labels, scale):
    traced = outlines(labels, scale)
    assert list(traced) == sorted(set(labels.ravel().tolist()) - {0})
    for cell, parts in traced.items():
        assert np.array_equal(rasterize([geometry(parts, scale)], out_shape=labels.shape) > 0, labels == cell)


@settings(max_examples=200, deadline=None)
@given(images)
def test_rings_are_closed_simple_and_enclose_the_cells_area(labels):
    for cell, parts in outlines(labels).items():
        area = 0.0
        for ring in (ring for part in parts for ring in part):
            assert ring[0] == ring[-1]
            assert len(set(ring)) == len(ring) - 1 >= 4
            x, y = np.array(ring, float).T
            assert np.all((np.diff(x) == 0) != (np.diff(y) == 0))
        for outer, *holes in parts:
            area += shoelace(outer) - sum(map(shoelace, holes))
        assert area == np.count_nonzero(labels == cell)


def shoelace(ring):
    x, y = np.array(ring, float).T
    return abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2


def test_holes_are_kept_and_separate_parts_are_a_multipolygon(tmp_path):
    features = export(tmp_path / "S1.geojson.gz", LABELS)["features"]
    ring, parts = (feature["geometry"] for feature in features)
    assert ring["type"] == "Polygon"
    assert len(ring["coordinates"]) == 2
    assert parts["type"] == "MultiPolygon"
    assert len(parts["coordinates"]) == 2


def test_features_are_what_qupath_reads(tmp_path):
    content = export(tmp_path / "S1.geojson.gz", LABELS)
    assert content["type"] == "FeatureCollection"
    for cell, feature in enumerate(content["features"], start=1):
        uuid.UUID(feature["id"])
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["cell"] == cell
        measurements = feature["properties"]["measurements"]
        assert "area_um2" not in measurements
        assert measurements["area"] == np.count_nonzero(cell == LABELS)
        assert all(type(value) in (int, float) for value in measurements.values())
    assert (
        "area_um2"
        in export(tmp_path / "S1.geojson.gz", LABELS, mpp=0.5)["features"][0]["properties"]["measurements"]
    )


def test_the_polygons_centre_is_the_measured_centre():
    labels = np.zeros((9, 9), np.uint32)
    labels[2:5, 3:8] = 1
    (outer,) = outlines(labels, 3.0)[1][0]
    row = measure(labels, np.zeros((1, 9, 9)), np.zeros((9, 9), np.uint8), ["a"], None, 3.0).iloc[0]
    assert np.mean(outer[:-1], axis=0).tolist() == [row["x"], row["y"]]
    assert [row["x_min"], row["y_min"]] == np.min(outer, axis=0).tolist()
    assert [row["x_max"], row["y_max"]] == np.max(outer, axis=0).tolist()


def test_equal_cells_give_equal_bytes_and_other_slides_other_ids(tmp_path):
    one, two = (export(tmp_path / f"{name}.geojson.gz", LABELS) for name in ("a", "b"))
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()
    other = export(tmp_path / "c.geojson.gz", LABELS, slide="S2")
    assert one == two
    assert {f["id"] for f in one["features"]}.isdisjoint(f["id"] for f in other["features"])


def test_no_cells_give_a_valid_empty_collection(tmp_path):
    assert export(tmp_path / "e.geojson.gz", np.zeros((3, 3), np.uint32))["features"] == []


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "S1.geojson.gz"
    export(path, LABELS)
    before = path.read_bytes()
    table = measured(LABELS).astype({"area": object})
    table.loc[1, "area"] = "broken"
    with pytest.raises(TypeError):
        write_geojson(path, feature_lines("S1", outlines(LABELS), table))
    assert path.read_bytes() == before


def test_table_and_polygons_of_different_cells_are_refused():
    with pytest.raises(ValueError, match="do not correspond"):
        list(feature_lines("S1", outlines(LABELS), pd.DataFrame({"cell": [1]})))


def test_ids_that_gdal_cannot_trace_are_refused():
    with pytest.raises(OverflowError, match="2147483648"):
        outlines(np.full((2, 2), 2**31, np.uint32))
