import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.io import imsave

from slideunet.geometry import blocks
from slideunet.inputs import check_slides as check_slides_module
from slideunet.inputs.check_slides import (
    check_slide,
    check_slides,
    check_table,
    cohort_problems,
    cohort_warnings,
    odd_channels,
    with_warnings,
)
from slideunet.inputs.equal_slides import cells_digest
from slideunet.slides.statistics import survey


@pytest.fixture
def field():
    return np.random.default_rng(0).integers(0, 255, (61, 47), np.uint8)


@pytest.fixture
def cells():
    labels = np.zeros((61, 47), np.uint16)
    labels[3:9, 4:11], labels[20:31, 20:33] = 1, 2
    return labels


@pytest.fixture
def row(tmp_path):
    def save(image, labels=None, slide="S1", mpp=""):
        paths = {"image": tmp_path / f"{slide}.tif", "labels": tmp_path / f"{slide}_labels.tif"}
        tifffile.imwrite(paths["image"], image)
        if labels is not None:
            tifffile.imwrite(paths["labels"], labels)
        return {
            "slide": slide,
            "image": str(paths["image"]),
            "labels": "" if labels is None else str(paths["labels"]),
            "mpp": mpp,
        }

    return save


def test_a_good_slide(row, field, cells):
    found = check_slide(row(field, cells, mpp="0.25"), None)
    assert found.problems == found.warnings == ()
    assert (found.shape, found.dtype, found.mpp, found.n_cells) == ((1, 61, 47), "uint8", 0.25, 2)
    assert (found.content, found.truth) == (survey(field[None])[1], cells_digest(cells))
    assert not found.blank


@pytest.mark.parametrize("block", [16, 20, 64])
def test_the_content_is_that_of_a_conversion_whatever_the_file(row, field, tmp_path, monkeypatch, block):
    monkeypatch.setattr(blocks, "BLOCK", block)
    rgb = np.stack([field, field.T.reshape(field.shape), 255 - field], -1)
    imsave(tmp_path / "a.png", rgb, check_contrast=False)
    tifffile.imwrite(tmp_path / "b.tif", rgb, tile=(16, 32), compression="deflate", photometric="rgb")
    tifffile.imwrite(tmp_path / "c.tif", rgb, rowsperstrip=7, photometric="rgb")
    rows = [{"slide": name, "image": str(tmp_path / name)} for name in ("a.png", "b.tif", "c.tif")]
    contents = {check.content for check in check_slides(rows, None, None, 2)}
    assert contents == {survey(rgb.transpose(2, 0, 1))[1]}


@pytest.mark.parametrize(("last", "blank"), [((3, 4, 5), True), ((3, 4, 6), False)])
def test_a_field_is_blank_when_every_channel_has_one_value(row, last, blank):
    image = np.full((61, 47, 3), (3, 4, 5), np.uint8)
    image[-1, -1] = last
    found = check_slide(row(image), None)
    assert found.blank == blank
    assert found.warnings == (
        ("all pixels of S1.tif have the value 3, 4, 5, so the image shows nothing.",) * blank
    )


def test_problems_of_pixel_size_pixels_and_labels_come_together(row, field, cells):
    image = field.astype(np.float32)
    image[0, 0] = np.nan
    found = check_slide(row(image, cells.T), None, 0.5)
    assert [
        part
        for part, text in zip(("pixel size", "NaN", "transposed"), found.problems, strict=True)
        if part in text
    ]
    assert len(found.problems) == 3
    (problem,) = check_slide({"slide": "S1", "image": "nowhere.tif"}, None, 0.5).problems
    assert "nowhere.tif" in problem


def test_no_check_begins_after_the_time(row, field):
    rows = [row(field, slide=f"S{i}") for i in range(3)]
    assert check_slides(rows, None, None, 2, seconds=0) == []
    assert [check.slide for check in check_slides(rows, None, None, 2)] == ["S0", "S1", "S2"]


def test_one_pixel_is_enough(row):
    found = check_slide(row(np.full((1, 1), 7, np.uint8)), None)
    assert found.problems == ()
    assert found.shape == (1, 1, 1)
    assert "value 7" in found.warnings[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(row, field, value):
    image = field.astype(np.float32)
    image[40, 30] = value
    (problem,) = check_slide(row(image), None).problems
    assert "NaN" in problem or "infin" in problem


def test_truncated(row, field, tmp_path):
    good = row(field)
    path = tmp_path / "S1.tif"
    path.write_bytes(path.read_bytes()[:-500])
    assert "S1.tif" in check_slide(good, None).problems[0]


def test_another_shape_and_damage_come_together(row, field, cells):
    image = field.astype(np.float32)
    image[0, 0] = np.nan
    found = check_slide(row(image, cells.T), None)
    assert len(found.problems) == 2
    assert "transposed" in found.problems[1]


def test_a_large_slide_is_checked_by_header_only(row, field, cells, monkeypatch):
    monkeypatch.setattr(check_slides_module, "HEADER_ONLY", 100)
    image = field.astype(np.float32)
    image[0, 0] = np.nan
    found = check_slide(row(image, cells), None)
    assert found.problems == ()
    assert found.n_cells is None
    assert found.content == found.truth == ""
    assert cohort_problems([found]) == []


def test_odd_channels_are_named(row, field):
    rows = [row(field, slide="S1"), row(np.stack([field] * 3, -1), slide="S2"), row(field, slide="S3")]
    ((slide, problem),) = odd_channels(check_slides(rows, None, None, 2))
    assert slide == "S2"
    assert problem.startswith("has 3 channels but 2 of 3 slides have 1")
    assert len(odd_channels(check_slides(rows, None, None, 2), expected=3)) == 2
    assert odd_channels(check_slides(rows, "grey", None, 2)) == []
    assert odd_channels(check_slides(rows, "rgb", None, 2)) == []


def test_channel_that_is_not_there(row, field):
    assert "channels [2]" in check_slide(row(field), [2]).problems[0]


def test_empty_labels_are_an_error_only_when_all_are_empty(row, field, cells):
    empty = check_slide(row(field, np.zeros_like(cells), slide="S1"), None)
    full = check_slide(row(field, cells, slide="S2"), None)
    assert empty.n_cells == 0
    assert empty.problems == ()
    assert empty.warnings != ()
    assert cohort_problems([empty, full]) == []
    (problem,) = cohort_problems([empty])
    assert "contain no cells" in problem


def test_the_ignore_label_is_no_cell(row, field, cells):
    ignored = np.zeros_like(cells)
    ignored[40:50, 4:11], ignored[20:31, 20:33] = 65535, 65535
    truths = {"S1": np.maximum(cells, ignored), "S2": ignored}
    rows = [row(field, truth, slide) for slide, truth in truths.items()]
    some, none = check_slides(rows, None, None, 1, ignore_label=65535)
    assert [warning.split(" of the pixels")[1][:12] for warning in some.warnings] == [" are ignored"]
    assert (some.n_cells, none.n_cells) == (1, 0)


def test_mixed_types_are_a_warning(row, field):
    found = [check_slide(row(field), None), check_slide(row(field.astype(np.uint16), slide="S2"), None)]
    assert "uint8" in cohort_warnings(found)[0]
    assert cohort_warnings(found[:1]) == []


def test_table(row, field, cells):
    rows = [row(field, cells, mpp="0.5")]
    checks = with_warnings(check_slides(rows, None, None, 1), [("S1", "has"), ("S1", "two")])
    table = check_table(checks, pd.DataFrame(rows), {"S1": "small-all"})
    assert table.to_dict("records") == [
        {
            **{
                "slide": "S1",
                "batch": "small-all",
                "height": 61,
                "width": 47,
                "channels": 1,
                "dtype": "uint8",
            },
            **{"mpp": 0.5, "labelled": True, "warnings": "has two"},
        }
    ]


def test_any_reader_will_do(tmp_path, field):
    imsave(tmp_path / "a.png", field, check_contrast=False)
    found = check_slide({"slide": "S1", "image": str(tmp_path / "a.png"), "labels": "", "mpp": ""}, None)
    assert found.shape == (1, 61, 47)


def test_planes_that_are_colours_are_checked_as_such(row, tmp_path):
    share = np.full((3, 61, 47), 0.95)
    share[:, 20:50, 10:40] = np.array([0.8, 0.5, 0.7])[:, None, None]
    planes = {"image": str(tmp_path / "p.tif"), "slide": "S1", "labels": "", "mpp": ""}
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
    tifffile.imwrite(planes["image"], (share * 255).astype(np.uint8), ome=True, **options)
    found = check_slide(planes, None)
    assert found.problems == ()
    assert "taken as one colour image" in found.warnings[0]
    assert check_slide(planes, "rgb").warnings == check_slide(planes, [0, 1, 2]).warnings == ()
    assert (
        cohort_problems([found, check_slide(row(np.moveaxis(share, 0, -1).astype(np.float32)), None)]) == []
    )
