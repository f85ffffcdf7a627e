"""The scripts for QuPath, run by Groovy with doubles of the functions of QuPath that they call."""

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import numpy as np
import pytest
from making import measure_labels

from slideunet.cells.export.geojson_writer import feature_lines, packed, write_geojson
from slideunet.cells.export.outlines import outlines
from slideunet.cells.measurement.regions import find_regions
from slideunet.geometry.runs import runs_of
from slideunet.truth.read_outlines import read_outlines

SCRIPTS = Path(__file__).parents[3] / "resources" / "qupath"
DOUBLES = Path(__file__).parent / "qupath_doubles"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("groovy") is None, reason="needs Groovy (Debian: groovy)"),
]

LABELS = np.zeros((40, 50), np.uint32)
LABELS[3:9, 4:11], LABELS[20:31, 30:40] = 1, 2
BOUNDS = {"x": 1000, "y": 2000, "width": 50, "height": 40}


def features(slide="S1"):
    table = measure_labels(LABELS, np.zeros((1, *LABELS.shape), np.uint8), LABELS * 0, ["grey"], None)
    return list(feature_lines(slide, outlines(find_regions(runs_of(LABELS))), table))


def square(kind, top, name=None, classification=None, number=0):
    ring = [[5, top], [9, top], [9, top + 4], [5, top + 4], [5, top]]
    facts = {"objectType": kind, "name": name}
    facts |= {"classification": {"name": classification}} if classification else {}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": str(uuid.UUID(int=number, version=4)), "geometry": geometry} | {
        "properties": facts
    }


@pytest.fixture
def add_slide(tmp_path):
    """Make the results of one slide as a run does: a manifest, and cells in a file of two gzip members."""

    def add(slide, image, shape=(1, 40, 50), scale=1.0):
        for folder in ("slides", "cells"):
            (tmp_path / "results" / folder).mkdir(parents=True, exist_ok=True)
        facts = {"slide": slide, "shape": shape, "scale": scale, "source": {"image": image}}
        (tmp_path / f"results/slides/{slide}.json").write_text(json.dumps(facts))
        first, second = features(slide)
        parts = [packed([first], True), packed([second], False)]
        write_geojson(tmp_path / f"results/cells/{slide}.geojson.gz", parts)

    return add


@pytest.fixture
def run(tmp_path):
    """Run a script for one image of a project in a folder of the run; return what it prints."""
    project = tmp_path / "project"
    project.mkdir()

    def start(script, *args, image="a.tif", path="/data/a.tif", objects=(), metadata=None, images=None):
        state = {"project": str(project), "image": image, "uris": [f"file:{path}"], "objects": list(objects)}
        state |= {"size": [50, 40], "metadata": metadata, "images": images or [image]}
        (tmp_path / "state.json").write_text(json.dumps(state))
        groovy = ["groovy", "-cp", DOUBLES, f"-Dstate={tmp_path / 'state.json'}", SCRIPTS / script, *args]
        java = Path(shutil.which("java")).resolve().parents[1]
        done = subprocess.run(
            groovy, capture_output=True, text=True, env=os.environ | {"JAVA_HOME": str(java)}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return start


@pytest.fixture
def after(tmp_path):
    return lambda: json.loads((tmp_path / "project/after.json").read_text())


def bounds_of(crop):
    return {f"openslide.bounds-{name}": str(value) for name, value in crop.items()}


def test_cells_replace_those_of_an_earlier_import(add_slide, run, after):
    add_slide("S1", "/data/patient1/a.tif")
    add_slide("S2", "/data/patient2/a.tif")
    own = [square("annotation", 1, "tumour", number=1), square("detection", 9, "cell 1", number=2)]
    earlier = [json.loads(feature) for feature in features()[:1]]
    said = run("import_cells.groovy", path="/mnt/patient1/a.tif", objects=own + earlier)
    assert said == "a.tif: 2 cells of slide S1 instead of 1"
    assert after() == own + [json.loads(feature) for feature in features()]


def test_cells_lie_where_a_cropped_slide_is_shown(tmp_path, add_slide, run, after):
    add_slide("S1", "/data/a.mrxs", (3, 3000, 4000), 2.0)
    said = run("import_cells.groovy", tmp_path, path="/data/a.mrxs", metadata=bounds_of(BOUNDS))
    assert said == "a.tif: 2 cells of slide S1"
    for found, feature in zip(after(), map(json.loads, features()), strict=True):
        assert found["properties"].pop("name") == feature["properties"].pop("name")
        moved = np.array(feature["geometry"]["coordinates"]) - [1000, 2000]
        np.testing.assert_array_equal(found["geometry"]["coordinates"], moved)
        assert (found["id"], found["properties"]) == (feature["id"], feature["properties"])


@pytest.mark.parametrize(
    ("slides", "reason"),
    [
        ([("S1", "/data/x.tif", (1, 40, 50))], "no slide of the run is it"),
        ([("S1", "/data/a.tif", (1, 40, 90))], "it has [50, 40] px and slide S1 of the run [90.0, 40.0]"),
        (
            [("S1", "/x/a.tif", (1, 40, 50)), ("S2", "/y/a.tif", (1, 40, 50))],
            "several slides may be it: [S1, S2]",
        ),
    ],
)
def test_other_images_are_left_as_they_are(add_slide, run, tmp_path, slides, reason):
    for slide, image, shape in slides:
        add_slide(slide, image, shape)
    assert run("import_cells.groovy", path="/data/a.tif") == f"a.tif: left as it is, {reason}"
    assert not (tmp_path / "project/after.json").exists()


def test_an_image_without_its_file_is_known_by_the_id(add_slide, run, after):
    add_slide("S1", "/data/x.tif")
    assert run("import_cells.groovy", image="S1.zarr", path="/data/results/slides/S1.zarr").startswith(
        "S1.zarr: 2 cells"
    )
    assert len(after()) == 2


def test_what_is_exported_is_truth(run, tmp_path):
    objects = [
        square("detection", 1),
        square("cell", 8),
        square("tile", 15),
        square("annotation", 15, "tumour"),
        square("annotation", 0, classification="Region*"),
    ]
    said = run("export_truth.groovy", objects=objects, metadata=bounds_of(BOUNDS)).splitlines()
    assert said[0] == "a.tif: 2 cells, 1 regions"
    assert said[1].startswith("a.tif: 1 annotations of other classes are left out")
    found = read_outlines(tmp_path / "project/labels/a.geojson", (3000, 4000), outline="cell", mpp=None)
    assert len(found.cells) == 2 and len(found.areas["Region*"]) == 1
    assert found.boxes[:, :2].tolist() == [[2001, 1005], [2008, 1005]]


def test_annotations_are_cells_where_there_is_nothing_else(run, tmp_path):
    objects = [square("annotation", 1), square("annotation", 8), square("annotation", 20)]
    objects[2]["geometry"] = {"type": "Point", "coordinates": [3, 4]}
    said = run("export_truth.groovy", tmp_path / "labels", objects=objects).splitlines()
    assert said == ["a.tif: 2 cells, 0 regions", "a.tif: 1 points and lines are left out"]
    found = read_outlines(tmp_path / "labels/a.geojson", (40, 50), outline="cell", mpp=None)
    assert len(found.cells) == 2


def test_images_of_one_name_do_not_overwrite_each_other(run, tmp_path):
    said = run("export_truth.groovy", objects=[square("annotation", 1)], images=["a.tif", "a.svs"])
    assert "another image of the project has this name" in said
    assert not (tmp_path / "project/labels").exists()
