"""Polygons are drawn as a point-in-polygon test of each pixel centre says, and none is lost silently."""

import gzip
import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from making import blocks_of
from matplotlib.path import Path as Outline
from skimage.measure import find_contours

from slideunet.errors import InputError
from slideunet.truth import open_truth as open_truth_module
from slideunet.truth.doubtful_outlines import doubts, guess_of_units
from slideunet.truth.ignore_label import IGNORE_LABEL, cells_alone
from slideunet.truth.open_truth import open_truth

SHAPE = (40, 50)


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [[list(map(float, p)) for p in ring] for ring in rings]}


def square(x, y, size=4.0):
    return [(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)]


def write(path, geometries, kind="cell"):
    features = [{"type": "Feature", "geometry": g, "properties": {"objectType": kind}} for g in geometries]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def inside(ring):
    """Pixels (y, x) whose centre is inside a ring: the independent rasterisation."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    return Outline(ring).contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(SHAPE)


def star(centre, radii):
    """Star-shaped outline around (x, y)."""
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    points = np.array(centre) + np.column_stack([np.cos(angles), np.sin(angles)]) * np.array(radii)[:, None]
    return [tuple(p) for p in points] + [tuple(points[0])]


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-3, 53),
    y=st.floats(-3, 43),
    radii=st.lists(st.floats(1.01, 15), min_size=3, max_size=14),
)
@example(x=0.0, y=40.0, radii=[2.0, 2.0, 2.0])  # Cut by the border: no sign of exchanged coordinates.
def test_every_pixel_whose_centre_is_inside(tmp_path_factory, x, y, radii):
    ring = star((x, y), radii)
    path = write(tmp_path_factory.mktemp("star") / "c.geojson", [polygon(ring)])
    try:
        labels = open_truth(path, SHAPE).labels
    except InputError as error:
        assert "outside the image" in str(error)
        assert not inside(ring).any()
        return
    # Pixels whose centre is on the outline, within rounding, may go either way.
    sure = ~(distance_to(ring) < 1e-3)
    np.testing.assert_array_equal((labels > 0)[sure], inside(ring)[sure])


def distance_to(ring):
    """Distance of every pixel centre to the outline."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    points = np.stack([x, y], axis=-1)
    distance = np.full(SHAPE, np.inf)
    for a, b in itertools.pairwise(ring):
        a, d = np.array(a), np.array(b) - a
        t = np.clip(((points - a) @ d) / max(d @ d, 1e-12), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(points - a - t[..., None] * d, axis=-1))
    return distance


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(5, 45),
    y=st.floats(5, 35),
    radii=st.lists(st.floats(3, 15), min_size=3, max_size=9),
    scale=st.floats(1.0, 4.0),
)
def test_polygons_are_drawn_at_the_working_resolution(tmp_path_factory, x, y, radii, scale):
    """As the same outline, shrunk, would be drawn at that resolution."""
    ring = star((x, y), radii)
    path = write(tmp_path_factory.mktemp("star") / "c.geojson", [polygon(ring)])
    shape = int(np.ceil(SHAPE[0] / scale)), int(np.ceil(SHAPE[1] / scale))
    labels = open_truth(path, SHAPE, scale=scale, working_shape=shape).labels
    assert labels.shape == shape
    small = [(px / scale, py / scale) for px, py in ring]
    rows, columns = slice(shape[0]), slice(shape[1])
    sure = ~(distance_to(small)[rows, columns] < 1e-3)
    np.testing.assert_array_equal((labels > 0)[sure], inside(small)[rows, columns][sure])


@pytest.mark.parametrize("name", ["c.geojson", "c.geojson.gz", "c.json"])
def test_coordinates_are_pixel_corners(tmp_path, name):
    labels = open_truth(
        write(tmp_path / name, [polygon(square(2, 3)), polygon(square(10, 20, 1))]), SHAPE
    ).labels
    expected = np.zeros(SHAPE, int)
    expected[3:7, 2:6] = 1
    expected[20, 10] = 2
    np.testing.assert_array_equal(labels, expected)


def test_holes_and_several_parts(tmp_path):
    parts = {
        "type": "MultiPolygon",
        "coordinates": [
            polygon(square(20, 20, 8), square(22, 22, 3))["coordinates"],
            polygon(square(40, 5))["coordinates"],
        ],
    }
    labels = open_truth(write(tmp_path / "c.geojson", [polygon(square(1, 1)), parts]), SHAPE).labels
    expected = np.zeros(SHAPE, int)
    expected[1:5, 1:5] = 1
    expected[20:28, 20:28] = 2
    expected[22:25, 22:25] = 0
    expected[5:9, 40:44] = 2
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: f,
        lambda f: {"type": "FeatureCollection", "features": f},
        lambda f: [x["geometry"] for x in f],
    ],
)
def test_bare_lists_and_byte_order_mark(tmp_path, wrap):
    features = [{"type": "Feature", "geometry": polygon(square(2, 3)[:-1])}]  # not closed
    (tmp_path / "c.json").write_text("\ufeff" + json.dumps(wrap(features)), encoding="utf-8")
    assert (open_truth(tmp_path / "c.json", SHAPE).labels == 1).sum() == 16


def test_outlines_of_a_drawn_cell_come_back(tmp_path):
    mask = inside(star((24, 21), [12, 10, 13, 9, 11, 12, 8]))
    ring = [(x + 0.5, y + 0.5) for y, x in find_contours(mask, 0.5)[0]]
    np.testing.assert_array_equal(
        open_truth(write(tmp_path / "c.geojson", [polygon(ring)]), SHAPE).labels > 0, mask
    )


@settings(max_examples=40, deadline=None)
@given(
    stars=st.lists(
        st.tuples(st.floats(2, 48), st.floats(2, 38), st.lists(st.floats(2, 12), min_size=3, max_size=7)),
        min_size=1,
        max_size=6,
    ),
    side=st.integers(5, 60),
    scale=st.sampled_from([1.0, 2.0]),
)
@example(stars=[(2.0, 2.0, [2.0, 2.0, 7.0])] * 2, side=5, scale=1.0)
def test_polygons_of_large_images_are_drawn_square_by_square(tmp_path_factory, stars, side, scale):
    # No edge through the centre of a pixel: on which side that lies is rounding, which differs by square.
    rings = [star((x + 0.1234567, y + 0.0423456), radii) for x, y, radii in stars]
    path = write(tmp_path_factory.mktemp("star") / "c.geojson", [polygon(ring) for ring in rings])
    shape = int(SHAPE[0] / scale), int(SHAPE[1] / scale)
    whole = open_truth(path, SHAPE, scale=scale, working_shape=shape)
    with pytest.MonkeyPatch.context() as patch, blocks_of(side):
        patch.setattr(open_truth_module, "IN_MEMORY_PIXELS", 0)
        lazy = open_truth(path, SHAPE, scale=scale, working_shape=shape)
    assert (lazy.warnings, lazy.count) == (whole.warnings, whole.count)
    np.testing.assert_array_equal(lazy.labels.compute(), whole.labels)
    np.testing.assert_array_equal(lazy.labels[3:17, 5:21].compute(), whole.labels[3:17, 5:21])


def test_overlap_later_wins_and_is_counted(tmp_path):
    geometries = [
        polygon(square(0, 0, 6)),
        polygon(square(4, 4, 6)),
        polygon(square(20, 20, 2)),
        polygon(square(20, 20, 3)),
    ]
    found = open_truth(write(tmp_path / "c.geojson", geometries), SHAPE)
    assert found.labels[5, 5] == 2 and found.labels[0, 0] == 1
    assert found.labels.max() == 3
    assert any("8 pixels are in more than one polygon" in w for w in found.warnings)
    assert any("1 of 4 polygons have no pixel" in w for w in found.warnings)


def test_cut_at_the_border_and_too_small(tmp_path):
    geometries = [polygon(square(48, 10)), polygon(square(5.6, 5.6, 0.3)), polygon(square(20, 20))]
    found = open_truth(write(tmp_path / "c.geojson", geometries), SHAPE)
    assert (found.labels == 1).sum() == 8
    assert any("1 polygons extend beyond the image" in w for w in found.warnings)
    assert any("1 of 3 polygons have no pixel" in w for w in found.warnings)


def test_all_faults_together(tmp_path):
    faults = [
        polygon(square(100, 5)),
        polygon([(1, 1), (2, 2), (1, 1)]),
        polygon([(1, 1), (2, 2), (3, 3), (1, 1)]),
        polygon([(float("nan"), 1), (2, 2), (3, 5)]),
        polygon(),
        None,
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "MultiPolygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [["a", "b", "c"]]},
        {"type": "Polygon", "coordinates": 5},
        {"type": ["Polygon"], "coordinates": []},
    ]
    for fault in faults:
        with pytest.raises(InputError, match="1 of 2 outlines cannot be used: feature 2:"):
            open_truth(write(tmp_path / "c.geojson", [polygon(square(1, 1)), fault]), SHAPE)
    with pytest.raises(
        InputError,
        match=r"11 of 11 outlines cannot be used: feature 1: is outside .*; feature 2: .*; feature 3",
    ):
        open_truth(write(tmp_path / "c.geojson", faults), SHAPE)


def test_regions_among_cells(tmp_path):
    path = write(tmp_path / "c.geojson", [polygon(square(0, 0, 30)), polygon(square(2, 2))])
    document = json.loads(path.read_text())
    document["features"][0]["properties"]["objectType"] = "annotation"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="1 annotations beside 1 cells"):
        open_truth(path, SHAPE)


def test_no_polygon_is_a_warning(tmp_path):
    found = open_truth(write(tmp_path / "c.geojson", []), SHAPE)
    assert found.labels.shape == SHAPE and found.warnings == ("labels without a single cell",)


@pytest.mark.parametrize("name", ["c.geojson", "c.geojson.gz"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_truncated(tmp_path, name, keep):
    path = write(tmp_path / name, [polygon(square(i, i)) for i in range(20)])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match="not readable GeoJSON"):
        open_truth(path, SHAPE)


@pytest.mark.parametrize(
    "text", ['{"a": 1}', "[" * 100_000, '{"type": "FeatureCollection", "features": 3}', '{"type": 1}']
)
def test_json_that_is_not_geojson(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match="GeoJSON"):
        open_truth(tmp_path / "c.json", SHAPE)


def classified(name, geometry, kind="annotation"):
    properties = {"objectType": kind} | ({"classification": {"name": name}} if name else {})
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def box(x0, y0, x1, y1):
    return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])


def mark(rows, columns):
    found = np.zeros(SHAPE, bool)
    found[rows, columns] = True
    return found


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_pixels_outside_of_regions_and_in_ignored_objects_are_ignored(tmp_path, scale):
    features = [
        classified("Region*", box(4, 4, 24, 30)),
        classified(None, box(6, 6, 10, 10), "cell"),
        classified("Region*", box(30, 0, 50, 40)),
        classified("Tumor", box(20, 10, 28, 16), "cell"),  # Reaches out of the region.
        classified("Ignore*", box(32, 20, 40, 36)),
        classified(None, box(34, 22, 38, 26), "cell"),  # Inside an ignored area.
        classified(None, box(42, 2, 48, 8), "cell"),
    ]
    path = tmp_path / "c.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    working = tuple(int(side / scale) for side in SHAPE)
    found = open_truth(path, SHAPE, scale=scale, working_shape=working)
    step = int(scale)
    valid = mark(slice(4, 30), slice(4, 24)) | mark(slice(0, 40), slice(30, 50))
    valid &= ~mark(slice(20, 36), slice(32, 40))
    np.testing.assert_array_equal(found.labels != IGNORE_LABEL, valid[::step, ::step])
    expected = np.zeros(SHAPE, np.uint32)
    for number, (rows, columns) in enumerate(
        [(slice(6, 10), slice(6, 10)), (slice(10, 16), slice(20, 28)), (slice(2, 8), slice(42, 48))], start=1
    ):
        expected[rows, columns] = number
    np.testing.assert_array_equal(cells_alone(found.labels), np.where(valid, expected, 0)[::step, ::step])
    assert found.count == 3
    share = f"{1 - valid[::step, ::step].mean():.1%} of the pixels are ignored"
    assert any(share in warning for warning in found.warnings)
    assert any("1 of 4 polygons have no pixel" in warning for warning in found.warnings)


def test_annotations_beside_cells_are_refused_unless_they_are_regions_or_ignored(tmp_path):
    features = [classified("Stroma", box(0, 0, 20, 20)), classified(None, box(2, 2, 6, 6), "cell")]
    path = tmp_path / "c.geojson"
    path.write_text(json.dumps(features))
    with pytest.raises(InputError, match=r"1 annotations beside 1 cells.*Region\* or Ignore\*"):
        open_truth(path, SHAPE)
    features[0] = classified("Region*", box(0, 0, 20, 20))
    path.write_text(json.dumps(features))
    assert open_truth(path, SHAPE).count == 1


def test_annotations_among_predicted_cells_are_cells_where_a_region_says_what_was_corrected(tmp_path):
    drawn = classified(None, box(4, 4, 9, 9))
    features = [
        drawn,
        classified("Region*", box(0, 0, 30, 30)),
        classified(None, box(6, 6, 12, 12), "detection"),
        classified(None, box(20, 20, 24, 24), "detection"),
    ]
    found = opened(tmp_path, features)
    expected = np.full(SHAPE, IGNORE_LABEL)
    expected[:30, :30] = 0
    # Ids are those of the file, but what was drawn by hand lies above.
    expected[6:12, 6:12], expected[20:24, 20:24], expected[4:9, 4:9] = 2, 3, 1
    np.testing.assert_array_equal(found.labels, expected)
    assert any("1 annotations and 2 other objects are taken as cells" in text for text in found.warnings)
    # An annotation around a detection is a region, or a cell of which the old outline was left.
    features[0] = classified("Tumor", box(1, 1, 26, 26))
    with pytest.raises(InputError, match=r"1 of 3 outlines contain another .* feature 1\).*delete the older"):
        opened(tmp_path, features)
    # Outside of the regions nothing matters.
    features[0] = classified("Tumor", box(32, 1, 44, 26))
    assert opened(tmp_path, features).count == 2


def test_cells_as_they_were_predicted_are_a_remark_unless_a_region_was_drawn(tmp_path):
    cells = [classified(None, box(4, 4, 9, 9), "detection"), classified(None, box(14, 4, 19, 9), "detection")]
    asked = "all 2 outlines are cells as they were predicted"
    assert not any(asked in text for text in opened(tmp_path, cells).warnings)  # As QuPath writes them.
    for number, cell in enumerate(cells, start=1):
        cell["properties"]["cell"] = number
    assert any(asked in text for text in opened(tmp_path, cells).warnings)
    cells.append(classified("Region*", box(0, 0, 20, 20)))
    assert not any(asked in text for text in opened(tmp_path, cells).warnings)


def of_version(version, kind, geometry, **more):
    ids = {"annotation": "PathAnnotationObject", "cell": "PathCellObject", "detection": "PathDetectionObject"}
    ids |= {"tile": "PathTileObject", "tma_core": "TMACoreObject", "root": "PathRootObject"}
    said = {"0.2": {"id": ids[kind], "properties": {"isLocked": False}}}
    said["0.3"] = {"properties": {"object_type": kind}}
    said["0.4"] = {"id": "2f1c", "properties": {"objectType": kind}}
    return {"type": "Feature", "geometry": geometry, **said[version], **more}


def opened(tmp_path, features, shape=SHAPE, **options):
    path = tmp_path / "c.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return open_truth(path, shape, **options)


SMALL = [square(2, 2), square(10, 2), square(20, 20)]


@pytest.mark.parametrize("version", ["0.2", "0.3", "0.4"])
@pytest.mark.parametrize("cell", ["cell", "detection"])
def test_regions_beside_cells_in_files_of_every_version(tmp_path, version, cell):
    cells = [of_version(version, cell, polygon(ring)) for ring in SMALL]
    whole = box(0, 0, 50, 40)
    expected = opened(tmp_path, cells).labels
    for kind in ("tile", "tma_core", "root"):
        for features in (
            [of_version(version, kind, whole), *cells],
            [*cells, of_version(version, kind, whole)],
        ):
            found = opened(tmp_path, features)
            np.testing.assert_array_equal(found.labels, expected)
            assert any("1 objects are tiles, TMA cores or the root" in text for text in found.warnings)
    with pytest.raises(InputError, match="1 annotations beside 3 cells"):
        opened(tmp_path, [of_version(version, "annotation", whole), *cells])
    with pytest.raises(InputError, match="1 objects that are no cells"):
        opened(tmp_path, [of_version(version, "tile", whole)])


@pytest.mark.parametrize("version", ["0.2", "0.3", "0.4"])
def test_annotations_alone_are_cells_unless_they_contain_others(tmp_path, version):
    cells = [of_version(version, "annotation", polygon(ring)) for ring in SMALL]
    assert opened(tmp_path, cells).count == 3
    with pytest.raises(InputError, match=r"1 of 4 outlines contain another one .the first is feature 4"):
        opened(tmp_path, [*cells, of_version(version, "annotation", box(1, 1, 30, 30))])
    # The bounding box contains them, the outline does not.
    bent = polygon([(0, 0), (1, 0), (1, 35), (45, 35), (45, 38), (0, 38), (0, 0)])
    assert opened(tmp_path, [*cells, of_version(version, "annotation", bent)]).count == 4


def with_nuclei(version):
    inner = [box(5, 5, 8, 8), box(20, 25, 23, 27)]
    outer = [box(2, 2, 12, 12), box(18, 20, 30, 30)]
    return [
        of_version(version, "cell", cell, nucleusGeometry=nucleus)
        for cell, nucleus in zip(outer, inner, strict=True)
    ]


@pytest.mark.parametrize("version", ["0.2", "0.3", "0.4"])
def test_the_outline_of_cells_or_of_their_nuclei_is_drawn(tmp_path, version):
    cells = with_nuclei(version)
    found = opened(tmp_path, cells)
    assert (np.bincount(found.labels.ravel())[1:] == [100, 120]).all()
    assert found.outline == "cell"
    assert any("2 cells have a nucleus" in text and "data.outline" in text for text in found.warnings)
    found = opened(tmp_path, cells, outline="nucleus")
    expected = np.zeros(SHAPE, np.uint32)
    expected[5:8, 5:8], expected[25:27, 20:23] = 1, 2
    np.testing.assert_array_equal(found.labels, expected)
    assert found.outline == "nucleus"
    assert any("the nuclei (nucleusGeometry) of 2 cells are drawn" in text for text in found.warnings)


def test_a_cell_without_a_nucleus_is_named_where_nuclei_are_wanted(tmp_path):
    cells = [*with_nuclei("0.4"), of_version("0.4", "cell", box(34, 2, 40, 9))]
    assert opened(tmp_path, cells).count == 3
    with pytest.raises(InputError, match=r"1 of 3 .*feature 3: is a cell without nucleusGeometry"):
        opened(tmp_path, cells, outline="nucleus")
    with pytest.raises(InputError, match=r"feature 1: is Point"):
        cells[0]["nucleusGeometry"] = {"type": "Point", "coordinates": [5, 5]}
        opened(tmp_path, cells, outline="nucleus")


def test_objects_that_have_no_nucleus_are_drawn_as_they_are(tmp_path):
    region = classified("Region*", box(0, 0, 44, 38))
    detection = of_version("0.4", "detection", box(34, 2, 40, 9))
    found = opened(tmp_path, [region, *with_nuclei("0.4"), detection], outline="nucleus")
    assert sorted(np.bincount(found.labels[found.labels != IGNORE_LABEL])[1:]) == [6, 9, 42]
    assert any("2 objects that are no cells are drawn as they are" in text for text in found.warnings)
    found = opened(tmp_path, [detection], outline="nucleus")
    assert any("no object has a nucleusGeometry" in text for text in found.warnings)


def test_a_bowtie_is_even_odd(tmp_path):
    ring = [(4, 4), (24, 24), (24, 4), (4, 24), (4, 4)]
    found = opened(tmp_path, [of_version("0.4", "cell", polygon(ring))]).labels > 0
    sure = distance_to(ring) > 1e-3
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    expected = (np.abs(x - 14) > np.abs(y - 14)) & (np.abs(x - 14) < 10)
    np.testing.assert_array_equal(found[sure], expected[sure])
    assert expected.any()


def scattered(scale=1.0, *, exchanged=False):
    rings = [square(x * scale, y * scale, 3 * scale) for x in range(1, 47, 6) for y in range(1, 37, 6)]
    return [polygon([(y, x) for x, y in ring] if exchanged else ring) for ring in rings]


@pytest.mark.parametrize(
    ("geometries", "guess"),
    [
        (scattered(exchanged=True), "none if x and y are exchanged"),
        (scattered(4), "another resolution"),
        (scattered(0.1), "smaller than a pixel.*micrometres"),
    ],
)
def test_coordinates_of_other_units_are_guessed(tmp_path, geometries, guess):
    assert open_truth(write(tmp_path / "good.geojson", scattered()), SHAPE).count == 48
    with pytest.raises(InputError, match=guess):
        open_truth(write(tmp_path / "c.geojson", geometries), SHAPE)


BIG = (400, 500)


def nuclei(mpp, *, diameter=8.0, region=(1.0, 1.0), count=60):
    """Nuclei of a diameter in micrometres all over a part of an image of `BIG`, in pixels."""
    rng, side = np.random.default_rng(0), diameter / mpp
    height, width = BIG[0] * region[0] - side, BIG[1] * region[1] - side
    return [
        (x, y, x + side, y + side)
        for x, y in zip(rng.uniform(0, width, count), rng.uniform(0, height, count), strict=True)
    ]


def as_cells(boxes, factor=1.0):
    return [of_version("0.4", "detection", box(*np.multiply(one, factor))) for one in boxes]


@pytest.mark.parametrize("mpp", [0.2, 0.25, 0.34])
def test_micrometres_are_recognised_by_the_pixel_size(tmp_path, mpp):
    cells = nuclei(mpp)
    good = opened(tmp_path, as_cells(cells), BIG, mpp=mpp)
    assert not any("micrometres" in text for text in good.warnings)
    with pytest.raises(InputError, match=f"probably in micrometres. Divide them by {mpp:g}"):
        opened(tmp_path, as_cells(cells, mpp), BIG, mpp=mpp)
    # Without a pixel size there is no more than a remark, and the user's own region settles it.
    assert any("upper left corner" in text for text in opened(tmp_path, as_cells(cells, mpp), BIG).warnings)
    marked = [classified("Region*", box(0, 0, BIG[1] * mpp, BIG[0] * mpp)), *as_cells(cells, mpp)]
    found = opened(tmp_path, marked, BIG, mpp=mpp)
    assert not any("upper left" in text for text in found.warnings)


def test_micrometres_of_a_coarse_image_lie_outside(tmp_path):
    cells = nuclei(4.0, diameter=40)
    with pytest.raises(InputError, match="none if the coordinates are in micrometres: divide them by 4"):
        opened(tmp_path, as_cells(cells, 4.0), BIG, mpp=4.0)


@pytest.mark.parametrize(
    ("cells", "mpp"),
    [
        (nuclei(0.25, region=(0.25, 0.25)), 0.25),  # One corner is annotated, cells have the size of cells.
        (nuclei(0.5, region=(0.5, 0.5)), 0.5),
        (nuclei(0.1, diameter=1.5, region=(0.5, 0.3)), 0.1),  # Bacteria in a corner of another size.
        (nuclei(0.25, region=(0.25, 0.25), count=19), 0.25),
        (nuclei(0.25, diameter=1.0), 0.25),
    ],
)
def test_true_cells_in_a_corner_are_not_refused(tmp_path, cells, mpp):
    found = opened(tmp_path, as_cells(cells), BIG, mpp=mpp)
    assert found.count > 15
    corner = max(x for *_, x, _ in cells) < 0.6 * BIG[1] and len(cells) > 19
    assert any("upper left corner" in text for text in found.warnings) == corner


@settings(max_examples=200, deadline=None)
@given(
    mpp=st.floats(0.1, 3),
    diameter=st.floats(3.1, 60),
    region=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)),
    seed=st.integers(0, 2**32 - 1),
)
def test_cells_of_the_size_of_cells_are_never_taken_for_micrometres(mpp, diameter, region, seed):
    """Wherever the annotated corner ends, even where the image would end in micrometres."""
    rng, shape, side = np.random.default_rng(seed), np.array([2000, 3000]), diameter / mpp
    high = np.maximum(shape * region - side, 0)
    corners = rng.uniform(0, 1, (40, 2)) * high
    boxes = np.concatenate([corners, corners + side], axis=1)
    assert guess_of_units(boxes, (2000, 3000), mpp) == "" or side < 1
    assert not any("corner" in text for text in doubts(boxes[:19], (2000, 3000), mpp, whole=True))


def test_an_outline_around_the_whole_image_is_no_cell(tmp_path):
    around = box(-3, 0, SHAPE[1], SHAPE[0] + 9)
    for feature in (of_version("0.4", "annotation", around), {"type": "Feature", "geometry": around}):
        with pytest.raises(InputError, match="feature 1 covers the whole image"):
            opened(tmp_path, [feature])
    assert opened(tmp_path, [of_version("0.4", "detection", around)]).count == 1
    assert opened(tmp_path, [of_version("0.4", "annotation", box(0, 0, 45, 40))]).count == 1
    holed = {"type": "Polygon", "coordinates": [around["coordinates"][0], square(15, 10, 20)]}
    assert opened(tmp_path, [of_version("0.4", "annotation", holed)]).count == 1


def test_odd_sizes_are_a_remark(tmp_path):
    found = opened(tmp_path, as_cells(nuclei(0.25)), BIG, mpp=25.0)
    assert any("the median outline is 8e+02 micrometres long" in text for text in found.warnings)
    found = opened(tmp_path, as_cells([(0, 0, 300, 390), *nuclei(0.25)]), BIG, mpp=0.25)
    assert any("1 outlines have more than half of the image" in text for text in found.warnings)
