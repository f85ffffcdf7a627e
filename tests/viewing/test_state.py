import dataclasses
import json
import re

import pytest

from slideunet.viewing.shaders import SHOWN_CHANNELS, channels_shader
from slideunet.viewing.state import CELLS, CHOSEN, CLOSE, ERRORS, chosen_cell, viewer_state

FILES = "http://127.0.0.1:1234/files/TOKEN"


@pytest.fixture
def state(viewed):
    return viewer_state(viewed, FILES)


def layer(state, name):
    return next(layer for layer in state["layers"] if layer["name"] == name)


def facts(names, dtype="uint16", **more):
    statistics = {"min": 3.0, "max": 4000.0, "low": 10.0, "high": 900.0}
    return {"channels": names, "dtype": dtype, "statistics": [statistics] * len(names)} | more


def test_every_store_is_a_layer_of_this_server(state):
    assert json.loads(json.dumps(state)) == state
    names = ["image", "probability", "cells", "outlines of cells", "truth", "outlines of truth", "errors"]
    assert [layer["name"] for layer in state["layers"]] == [*names, CHOSEN]
    urls = re.findall(r'"url": "(http[^"]+)"', json.dumps(state))
    assert set(urls) == {
        f"{FILES}/image/|zarr3:",
        f"{FILES}/prediction/|zarr3:",
        f"{FILES}/prediction/labels/cells/|zarr3:",
        f"{FILES}/image/labels/truth/|zarr3:",
    }
    assert layer(state, CELLS)["source"][1] == f"precomputed://{FILES}/properties"


def test_lengths_are_metres_where_they_are_known(viewed, state):
    assert state["dimensions"] == {"x": [5e-7, "m"], "y": [5e-7, "m"]}
    without = dataclasses.replace(viewed, facts=viewed.facts | {"mpp": None})
    state = viewer_state(without, FILES)
    assert state["dimensions"] == {"x": [1, ""], "y": [1, ""]}
    axes = layer(state, "image")["source"]["transform"]["outputDimensions"]
    assert list(axes) == ["c^", "y", "x"]


def test_the_first_picture_has_the_whole_slide(viewed):
    wide = dataclasses.replace(viewed, facts=viewed.facts | {"shape": [1, 3000, 30000]})
    state = viewer_state(wide, FILES)
    assert state["position"] == [15000, 1500]
    assert state["crossSectionScale"] == pytest.approx(30000 / 1100)


def test_errors_are_points_where_they_are(viewed, state):
    points = layer(state, ERRORS)["annotations"]
    assert [point["point"] for point in points] == [[e.x + 0.5, e.y + 0.5] for e in viewed.examples]
    assert {point["id"].split("-")[0] for point in points} == {"missed", "false"}
    assert all(point["description"].startswith(point["id"].replace("-", " ")) for point in points)
    assert len({point["id"] for point in points}) == len(points)


def test_without_a_prediction_there_are_image_and_truth(viewed):
    converted = dataclasses.replace(viewed, prediction=None, n_cells=None, table=None, examples=())
    names = [layer["name"] for layer in viewer_state(converted, FILES)["layers"]]
    assert names == ["image", "truth", "outlines of truth"]


def test_contrast_is_that_of_the_statistics():
    shader = channels_shader(facts(["DAPI"]))
    assert "#uicontrol invlerp c0_DAPI(range=[10, 900], window=[3, 4000], channel=0)" in shader
    assert "range=[10.0, 900.0]" in channels_shader(facts(["DAPI"], "float32"))


def test_colour_is_shown_as_it_is():
    shader = channels_shader(facts(["red", "green", "blue"], "uint8", white=None))
    assert shader.count("range=[0, 255]") == 3
    assert "range=[0, 4095]" in channels_shader(facts(["red", "green", "blue"], white=4095))


def test_constant_channels_have_a_contrast():
    flat = facts(["a"])
    flat["statistics"] = [{"min": 7.0, "max": 7.0, "low": 7.0, "high": 7.0}]
    assert "range=[7, 8], window=[7, 8]" in channels_shader(flat)


def test_any_name_of_a_channel_is_an_identifier():
    names = ["DAPI (405 nm)", "細胞", "a; } void x() {", "float", "a", "a__b", ""]
    shader = channels_shader(facts(names))
    found = re.findall(r"^#uicontrol \S+ ([A-Za-z0-9_]+)(?: color| checkbox|\(range)", shader, re.MULTILINE)
    assert len(found) == len(set(found)) == 3 * len(names)
    assert not [name for name in found if "__" in name or name[0].isdigit()]
    assert shader.count("default=true") == SHOWN_CHANNELS


def test_a_place_is_in_the_middle_at_full_zoom(viewed):
    reduced = dataclasses.replace(viewed, facts=viewed.facts | {"scale": 2.0})
    state = viewer_state(reduced, FILES, (40, 100))
    assert (state["position"], state["crossSectionScale"]) == ([50, 20], CLOSE)


@pytest.mark.parametrize(("n_cells", "listed"), [(0, False), (1, True), (50_000, True), (50_001, False)])
def test_an_empty_list_of_properties_is_not_asked_for(viewed, n_cells, listed):
    state = viewer_state(dataclasses.replace(viewed, n_cells=n_cells), FILES)
    assert (f"precomputed://{FILES}/properties" in layer(state, CELLS)["source"]) == listed
    state = viewer_state(dataclasses.replace(viewed, n_cells=n_cells, table=None), FILES)
    assert len(layer(state, CELLS)["source"]) == 1
    assert CHOSEN not in [layer["name"] for layer in state["layers"]]


def test_the_box_of_a_chosen_cell_is_on_the_working_grid():
    row = {"cell": 4, "y_min": 10, "x_min": 20, "y_max": 14, "x_max": 30, "area": 33.5, "solidity": None}
    chosen = chosen_cell({"scale": 2.0}, row)
    assert chosen == {"row": row, "pointA": [10, 5], "pointB": [15, 7]}
