import dataclasses
import json
import re

import pytest

from slideunet.viewing.clicks import (
    Follower,
    cell_under_pointer,
    chosen_error,
    to_chosen_error,
    to_next_error,
    with_chosen_cell,
)
from slideunet.viewing.shaders import SHOWN_CHANNELS, channels_shader
from slideunet.viewing.state import CELLS, CHOSEN, ERRORS, chosen_cell, viewer_state

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
    assert [layer["name"] for layer in state["layers"]] == names
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
    converted = dataclasses.replace(viewed, prediction=None, has_cells=False, table=None, examples=())
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


@pytest.mark.parametrize(
    ("value", "cell"), [("7", 7), (7, 7), ({"key": "7", "label": "x"}, 7), ("0", None), (None, None)]
)
def test_the_cell_under_the_pointer(value, cell):
    assert cell_under_pointer({"selectedValues": {CELLS: {"value": value}}}) == cell
    assert cell_under_pointer({"selectedValues": {}}) is None


def test_a_chosen_cell_takes_the_place_of_the_last(viewed, state):
    row = {"cell": 3.0, "y_min": 10.0, "x_min": 20.0, "y_max": 14.0, "x_max": 30.0, "area": 33.5}
    for cell in (3, 4):
        chosen = chosen_cell(viewed.facts | {"scale": 2.0}, row | {"cell": cell})
        state = with_chosen_cell(state, chosen)
    assert [other["name"] for other in state["layers"]].count(CHOSEN) == 1
    [box] = layer(state, CHOSEN)["annotations"]
    assert (box["id"], box["pointA"], box["pointB"]) == ("4", [10, 5], [15, 7])
    named = [spec["id"] for spec in layer(state, CHOSEN)["annotationProperties"]]
    assert dict(zip(named, box["props"], strict=True)) == row | {"cell": 4}
    assert state["selection"]["layers"] == {CHOSEN: {"annotationId": "4"}}


def test_keys_go_through_all_errors_and_around(state):
    ids = [point["id"] for point in layer(state, ERRORS)["annotations"]]
    seen = []
    for _ in range(len(ids) + 1):
        state = to_next_error(state)
        seen.append(chosen_error(state))
    assert seen == [*ids, ids[0]]
    assert chosen_error(to_next_error(state, -1)) == ids[-1]
    assert state["position"] == layer(state, ERRORS)["annotations"][0]["point"]


def test_the_first_key_back_is_the_last_error(state):
    assert chosen_error(to_next_error(state, -1)) == layer(state, ERRORS)["annotations"][-1]["id"]


def test_without_errors_nothing_moves(viewed):
    state = viewer_state(dataclasses.replace(viewed, examples=()), FILES)
    assert to_next_error(state) == to_chosen_error(state) == state


def test_an_error_is_followed_once(state):
    follower, chosen = Follower(), to_next_error(state)
    assert [follower.chosen_anew(s) for s in (state, chosen, chosen, state, chosen)] == [
        False, True, False, False, True,
    ]  # fmt: skip
