import gzip
import json
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import measure_labels

from slideunet.cells.export.geojson_writer import feature_lines, packed, write_geojson
from slideunet.cells.export.outlines import outlines
from slideunet.cells.measurement.regions import find_regions
from slideunet.geometry.runs import runs_of

LABELS = np.array([[1, 1, 1, 0], [1, 0, 1, 2], [1, 1, 1, 0], [0, 0, 0, 2]], np.uint32)


def measured(labels, mpp=None):
    image = np.zeros((1, *labels.shape), np.uint8)
    return measure_labels(labels, image, np.zeros(labels.shape, np.uint8), ["grey"], mpp)


def lines(labels, slide="S1", mpp=None):
    return list(feature_lines(slide, outlines(find_regions(runs_of(labels))), measured(labels, mpp)))


def read(path):
    return json.loads(gzip.decompress(path.read_bytes()), parse_constant=pytest.fail)


def export(path, labels, **options):
    write_geojson(path, [packed(lines(labels, **options), True)])
    return read(path)


def features(**columns):
    table = pd.DataFrame(columns)
    return [json.loads(line) for line in feature_lines("S1", ["null"] * len(table), table)]


def test_holes_are_kept_and_separate_parts_are_a_multipolygon(tmp_path):
    found = export(tmp_path / "S1.geojson.gz", LABELS)["features"]
    ring, parts = (feature["geometry"] for feature in found)
    assert ring["type"] == "Polygon"
    assert len(ring["coordinates"]) == 2
    assert parts["type"] == "MultiPolygon"
    assert len(parts["coordinates"]) == 2


def test_features_are_what_qupath_reads(tmp_path):
    content = export(tmp_path / "S1.geojson.gz", LABELS)
    assert content["type"] == "FeatureCollection"
    for cell, feature in enumerate(content["features"], start=1):
        assert feature["type"] == "Feature"
        uuid.UUID(feature["id"])
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["name"] == f"cell {cell}"
        assert feature["properties"]["cell"] == cell
        measurements = feature["properties"]["measurements"]
        assert "area_um2" not in measurements
        assert measurements["area"] == np.count_nonzero(cell == LABELS)
        assert measurements["touches_border"] == 1
        assert all(type(value) in (int, float) for value in measurements.values())
    known = export(tmp_path / "S1.geojson.gz", LABELS, mpp=0.5)["features"][0]
    assert known["properties"]["measurements"]["area_um2"] == 2.0


numbers = st.floats() | st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(numbers, numbers, st.integers(-(2**62), 2**62), st.booleans()), max_size=6))
def test_measurements_keep_seven_digits_and_what_is_not_finite_is_left_out(rows):
    columns = (
        dict(zip(('a "%d"', "b", "count", "flag"), zip(*rows, strict=True), strict=True)) if rows else {}
    )
    for row, feature in zip(rows, features(cell=range(len(rows)), **columns), strict=True):
        found = feature["properties"]["measurements"]
        expected = {name: float(v) for name, v in zip(columns, row, strict=True) if np.isfinite(v)}
        assert found == pytest.approx(expected, rel=5.1e-7)
        assert found["count"] == row[2]


parts_of_lines = st.lists(st.lists(st.sampled_from(["1", '"ä"', "[2,3]"]), max_size=4), max_size=5)


@given(parts=parts_of_lines)
def test_parts_make_one_valid_file(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("parts") / "S1.geojson.gz"
    before = [sum(map(len, parts[:number])) for number in range(len(parts))]
    write_geojson(path, [packed(part, not count) for part, count in zip(parts, before, strict=True)])
    assert read(path)["features"] == [json.loads(line) for part in parts for line in part]


def test_equal_cells_give_equal_bytes_and_other_slides_other_ids(tmp_path):
    one, two = (export(tmp_path / f"{name}.geojson.gz", LABELS) for name in ("a", "b"))
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()
    other = export(tmp_path / "c.geojson.gz", LABELS, slide="S2")
    assert one == two
    assert {f["id"] for f in one["features"]}.isdisjoint(f["id"] for f in other["features"])


@pytest.mark.parametrize("slide", ["S1", "größe/2"])
def test_ids_are_uuids_of_slide_and_cell(slide):
    table = pd.DataFrame({"cell": np.arange(1, 200, dtype=np.uint32), "area": 1.0})
    for cell, line in enumerate(feature_lines(slide, ["null"] * 199, table), start=1):
        expected = uuid.uuid5(uuid.NAMESPACE_OID, f"slideunet/{slide}/{cell}")
        assert json.loads(line)["id"] == str(expected)


def test_no_cells_give_a_valid_empty_collection(tmp_path):
    assert export(tmp_path / "e.geojson.gz", np.zeros((3, 3), np.uint32))["features"] == []


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "S1.geojson.gz"
    export(path, LABELS)
    before = path.read_bytes()

    def parts():
        yield packed(lines(LABELS), True)
        raise OSError("No space left")

    with pytest.raises(OSError, match="No space left"):
        write_geojson(path, parts())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tables_and_outlines_of_different_cells_are_refused():
    with pytest.raises(ValueError, match="1 measured cells and 2 outlines"):
        list(feature_lines("S1", outlines(find_regions(runs_of(LABELS))), pd.DataFrame({"cell": [1]})))
