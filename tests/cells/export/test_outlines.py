import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from making import measure_labels
from rasterio.features import rasterize, shapes

from slideunet.cells.export.outlines import outlines
from slideunet.cells.measurement.regions import find_regions
from slideunet.geometry.runs import runs_of

images = hnp.arrays(
    np.uint32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 4)
)


def traced(labels, scale=1.0, origin=(0, 0)):
    """Cell to its polygons."""
    regions = find_regions(runs_of(labels))
    found = {}
    for cell, text in zip(regions.ids.tolist(), outlines(regions, scale, origin), strict=True):
        geometry = json.loads(text)
        alone = geometry["type"] == "Polygon"
        found[cell] = [geometry["coordinates"]] if alone else geometry["coordinates"]
        assert alone or (geometry["type"] == "MultiPolygon" and len(found[cell]) > 1)
    return found


def geometry(parts, scale):
    return {
        "type": "MultiPolygon",
        "coordinates": [[[(x / scale, y / scale) for x, y in ring] for ring in part] for part in parts],
    }


@settings(max_examples=200, deadline=None)
@given(images, st.sampled_from([1.0, 4.0, 0.5, 1.7321]))
def test_rasterising_the_outlines_gives_the_labels_back(labels, scale):
    found = traced(labels, scale)
    assert list(found) == sorted(set(labels.ravel().tolist()) - {0})
    for cell, parts in found.items():
        assert np.array_equal(rasterize([geometry(parts, scale)], out_shape=labels.shape) > 0, labels == cell)


@settings(max_examples=200, deadline=None)
@given(images)
def test_rings_are_closed_simple_and_enclose_the_cells_area(labels):
    for cell, parts in traced(labels).items():
        area = 0.0
        for ring in (ring for part in parts for ring in part):
            assert ring[0] == ring[-1]
            assert len(set(map(tuple, ring))) == len(ring) - 1 >= 4
            x, y = np.array(ring, float).T
            assert np.all((np.diff(x) == 0) != (np.diff(y) == 0))
        for outer, *holes in parts:
            assert shoelace(outer) > 0
            assert all(shoelace(hole) < 0 for hole in holes)
            area += shoelace(outer) + sum(map(shoelace, holes))
        assert area == np.count_nonzero(labels == cell)


def shoelace(ring):
    """The area, positive counterclockwise in (x, y)."""
    x, y = np.array(ring, float).T
    return np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2


def corners(parts):
    return sorted(sorted(sorted({(float(x), float(y)) for x, y in ring}) for ring in part) for part in parts)


@settings(max_examples=200, deadline=None)
@given(images)
def test_polygons_are_those_of_gdal(labels):
    expected = {}
    for shape, cell in shapes(labels.astype(np.int32), mask=labels != 0, connectivity=4):
        expected.setdefault(int(cell), []).append(shape["coordinates"])
    found = traced(labels)
    assert {cell: corners(parts) for cell, parts in found.items()} == {
        cell: corners(parts) for cell, parts in expected.items()
    }


def test_a_hole_that_touches_the_outside_at_a_corner_stays_a_hole():
    labels = np.ones((4, 4), np.uint32)
    labels[1, 1] = labels[0, 0] = 0
    (part,) = traced(labels)[1]
    assert [len(ring) for ring in part] == [7, 5]


def test_the_origin_moves_the_outlines():
    labels = np.pad(np.ones((2, 3), np.uint32), 1)
    moved = traced(labels, 2.0, (10, 20))[1][0][0]
    here = traced(labels, 2.0)[1][0][0]
    assert moved == [[x + 40, y + 20] for x, y in here]


@pytest.mark.parametrize(("scale", "kind"), [(1.0, int), (4.0, int), (0.5, float)])
def test_coordinates_are_whole_numbers_where_the_scale_is(scale, kind):
    ring = traced(np.ones((3, 3), np.uint32), scale)[1][0][0]
    assert all(type(value) is kind for corner in ring for value in corner)


def test_the_polygons_centre_is_the_measured_centre():
    labels = np.zeros((9, 9), np.uint32)
    labels[2:5, 3:8] = 1
    (outer,) = traced(labels, 3.0)[1][0]
    row = measure_labels(labels, np.zeros((1, 9, 9)), np.zeros((9, 9), np.uint8), ["a"], None, 3.0).iloc[0]
    assert np.mean(outer[:-1], axis=0).tolist() == [row["x"], row["y"]]
    assert [row["x_min"], row["y_min"]] == np.min(outer, axis=0).tolist()
    assert [row["x_max"], row["y_max"]] == np.max(outer, axis=0).tolist()


def test_the_largest_ids_can_be_traced():
    assert list(traced(np.full((2, 2), 2**32 - 1, np.uint32))) == [2**32 - 1]
