import json
import shutil

import pytest

from slideunet.errors import DamagedDataError, InputError
from slideunet.stores.dropping import drop_parts
from slideunet.viewing.viewed_slide import find_slide


@pytest.mark.parametrize("inside", ["", "results"])
def test_everything_of_a_slide_is_found(viewed_run, inside):
    slide = find_slide(viewed_run / inside, "S1")
    assert slide.n_cells > 10
    assert slide.has_truth
    assert set(slide.stores) == {"image", "prediction"}
    assert all(path.is_dir() for path in slide.stores.values())
    assert slide.table.is_file()
    assert {example.kind for example in slide.examples} == {"missed", "false"}


def test_a_slide_that_was_only_converted_has_an_image(tmp_path, convert_cells):
    convert_cells(tmp_path)
    slide = find_slide(tmp_path, "S1")
    assert set(slide.stores) == {"image"}
    assert (slide.n_cells, slide.table, slide.examples) == (None, None, ())


@pytest.mark.parametrize("name", ["9", "a.b", "x.zarr", "s.json", "A-_.1", "z" * 64])
def test_every_id_of_a_sheet_is_found(tmp_path, convert_cells, name):
    convert_cells(tmp_path, name)
    slide = find_slide(tmp_path, name)
    assert (slide.name, slide.image.name) == (name, f"{name}.zarr")
    assert slide.image.is_dir()


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no results/slides"):
        find_slide(tmp_path, "S1")
    with pytest.raises(InputError, match="is not a folder"):
        find_slide(tmp_path / "missing", "S1")


@pytest.mark.parametrize("name", ["S2", "", "../slides/S1", "s1"])
def test_the_nearest_slide_is_named(viewed_run, name):
    with pytest.raises(InputError, match="nearest of 1: S1"):
        find_slide(viewed_run, name)


@pytest.mark.parametrize("lost", ["slides/S1.zarr/0", "predictions/S1.zarr/labels/cells", "slides/S1.zarr"])
def test_a_store_that_is_not_whole_is_damaged(tmp_path, viewed_run, lost):
    shutil.copytree(viewed_run / "results", tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / lost)
    with pytest.raises(DamagedDataError, match="cannot be opened"):
        find_slide(tmp_path, "S1")


def test_a_chunk_that_is_missing_is_named(tmp_path, viewed_run):
    shutil.copytree(viewed_run / "results", tmp_path / "results")
    chunk = tmp_path / "results/slides/S1.zarr/labels/truth/0/c/0/0"
    chunk.unlink()
    with pytest.raises(DamagedDataError, match=r"1 of 1 chunks are missing, the first is c/0/0"):
        find_slide(tmp_path, "S1")


def test_what_was_not_kept_is_named_in_one_message(tmp_path, viewed_run):
    shutil.copytree(viewed_run / "results", tmp_path / "results")
    prediction = tmp_path / "results/predictions/S1.json"
    drop_parts(prediction, ["predictions"])
    slide = find_slide(tmp_path, "S1")
    assert (slide.n_cells is None, slide.has_probability) == (False, False)
    drop_parts(prediction, ["labels"])
    image = tmp_path / "results/slides/S1.json"
    image.write_text(json.dumps(json.loads(image.read_text()) | {"first_level": 1}))
    with pytest.raises(InputError) as caught:
        find_slide(tmp_path, "S1")
    pixels, labels = caught.value.problems
    assert "pixels of the slide are no longer there" in pixels
    assert "add slides to it" in pixels
    assert "labels of the cells are no longer there" in labels


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"examples": [{"kind": "missed"}]}), "[]"])
def test_a_score_that_cannot_be_read_is_damaged(tmp_path, viewed_run, content):
    shutil.copytree(viewed_run / "results", tmp_path / "results")
    (tmp_path / "results/metrics/S1.json").write_text(content)
    with pytest.raises(DamagedDataError, match=r"S1\.json cannot be read"):
        find_slide(tmp_path, "S1")
