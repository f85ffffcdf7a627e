import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from slideunet.errors import InputError
from slideunet.inputs.make_sheet import _ids, pair_folders, relative_to
from slideunet.readers.endings import IMAGE_ENDINGS


@pytest.fixture
def make(tmp_path):
    def touch(folder, *names):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            (tmp_path / folder / name).touch()
        return tmp_path / folder

    return touch


def names(sheet, column):
    return [path.rpartition("/")[2] for path in sheet[column]]


@pytest.mark.parametrize(
    "label",
    [
        *(
            "f1.png",
            "f1_mask.png",
            "f1_masks.tif",
            "f1-mask.png",
            "f1_label.tiff",
            "f1_labels.ome.tif",
            "f1_gt.png",
        ),
        *("f1_seg.png", "f1_cp_masks.tif", "f1.geojson", "f1.labels.tif", "f1_MASK.PNG", "f1 mask.png"),
    ],
)
def test_usual_names_pair(make, label):
    sheet, messages = pair_folders(make("images", "f1.tif"), make("labels", label))
    assert names(sheet, "labels") == [label]
    assert messages == []
    assert sheet["slide"].tolist() == ["f1"]


@pytest.mark.parametrize("label", ["field-1.geojson", "field 1.geojson", "field 1.tif.geojson"])
def test_outlines_pair_by_slide_id_as_predictions_are_named_and_by_file_name(make, label):
    sheet, messages = pair_folders(make("images", "field 1.tif", "field.tif"), make("labels", label))
    assert dict(zip(sheet["slide"], names(sheet, "labels"), strict=True)) == {"field-1": label, "field": ""}
    assert sorted(message.split(":")[0] for message in messages) == ["field 1", "field.tif"]


def test_a_name_comes_before_the_id_of_another_image(make):
    labels = make("labels", "a-b.png", "a b.png")
    sheet, _ = pair_folders(make("images", "a b.png", "a-b.png"), labels)
    found = dict(zip(names(sheet, "image"), names(sheet, "labels"), strict=True))
    assert found == {"a b.png": "a b.png", "a-b.png": "a-b.png"}


def test_unpaired_files_are_reported(make):
    images = make("images", "a.png", "b.png", "c.png", ".DS_Store", "notes.txt")
    labels = make("labels", "a_mask.png", "c.png", "c_mask.tif", "d_mask.png")
    sheet, messages = pair_folders(images, labels)
    assert names(sheet, "image") == ["a.png", "b.png", "c.png"]
    assert names(sheet, "labels") == ["a_mask.png", "", ""]
    assert [message.split(":")[0] for message in messages] == [*("b.png", "c.png", "d_mask.png", "images")]
    assert "1 left out (notes.txt)" in messages[3]
    assert "c.png, c_mask.tif" in messages[1]


def test_the_nearest_of_overlapping_names_is_taken(make):
    sheet, messages = pair_folders(
        make("images", "a.png", "a_1.png", "a_seg.png"),
        make("labels", "a_mask.png", "a_1_mask.png", "a_seg_mask.png"),
    )
    assert names(sheet, "labels") == ["a_1_mask.png", "a_mask.png", "a_seg_mask.png"] or messages == []
    assert dict(zip(names(sheet, "image"), names(sheet, "labels"), strict=True)) == {
        "a.png": "a_mask.png",
        "a_1.png": "a_1_mask.png",
        "a_seg.png": "a_seg_mask.png",
    }


def test_one_folder_for_both(make):
    folder = make("all", "a.tif", "a_labels.tif", "b.tif", "b_labels.tif")
    sheet, messages = pair_folders(folder, folder)
    assert names(sheet, "image") == ["a.tif", "b.tif"]
    assert names(sheet, "labels") == ["a_labels.tif", "b_labels.tif"]
    assert messages == []


def test_images_alone_and_groups(make):
    sheet, messages = pair_folders(make("images", "p1_a.png", "p2_b.png", "x.png"), None, r"^(p\d)_")
    assert sheet["group"].tolist() == ["p1", "p2", ""]
    assert messages == []


def test_changed_ids_are_reported(make):
    sheet, messages = pair_folders(make("images", "field (1).png", "field 1.png", "ok.png"), None)
    assert sheet["slide"].tolist() == ["field-1-", "field-1", "ok"]
    assert len(messages) == 2


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=80), max_size=20))
def test_ids_are_valid_and_unique(stems):
    ids, _ = _ids(stems)
    valid = Draft202012Validator({"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})
    assert all(valid.is_valid(slide) for slide in ids)
    assert len({slide.lower() for slide in ids}) == len(stems)


@pytest.mark.parametrize("case", ["nowhere", "empty", "regex"])
def test_bad_calls_are_explained(make, tmp_path, case):
    folder = {"nowhere": tmp_path / "x", "empty": make("empty", "a.txt"), "regex": make("images", "a.png")}[
        case
    ]
    with pytest.raises(InputError):
        pair_folders(folder, None, "(" if case == "regex" else None)


def test_paths_become_relative_where_the_sheet_is_near(make, tmp_path):
    sheet, _ = pair_folders(make("images", "a.png"), make("labels", "a.png"))
    near = relative_to(sheet, tmp_path)
    assert near.loc[0, ["image", "labels"]].tolist() == ["images/a.png", "labels/a.png"]
    beside = relative_to(sheet, tmp_path / "run")
    assert beside.loc[0, "image"] == "../images/a.png"
    far = relative_to(sheet, tmp_path / "a" / "b" / "c")
    assert far.loc[0, "image"] == str(tmp_path / "images" / "a.png")


def test_labels_whose_name_is_part_of_another_are_reported_too(make):
    _, messages = pair_folders(make("images", "aa.png"), make("labels", "a.png"))
    assert [message.split(":")[0] for message in messages] == ["aa.png", "a.png"]


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_every_ending_that_can_be_read_is_taken(make, ending):
    sheet, messages = pair_folders(make("images", f"A.b{ending.upper()}"), None)
    assert sheet["slide"].tolist() == ["A.b"]
    assert messages == []


def test_the_endings_are_those_of_the_readers():
    """OpenSlide's own list of its formats, and tifffile's of OME."""
    slides = {".svs", ".dcm", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi"}
    assert slides | {".tif", ".tiff"} <= set(IMAGE_ENDINGS)
    assert {".ome.tif", ".ome.tiff", ".ome.btf", ".ome.tf2", ".ome.tf8", ".ome.zarr"} <= set(IMAGE_ENDINGS)


def test_what_is_left_out_is_listed(make):
    images = make("images", "a.png", "b.lif", "c.zip", *(f"{n}.txt" for n in range(9)))
    make("images/more", "d.png")
    _, messages = pair_folders(images, None)
    assert len(messages) == 1
    assert "12 left out (0.txt, 1.txt, 2.txt, 3.txt, 4.txt, ...)" in messages[0]
    with pytest.raises(InputError, match=r"2 left out \(x\.lif, y/\)"):
        (make("none", "x.lif") / "y").mkdir()
        pair_folders(images.parent / "none", None)


def test_rois_say_what_to_do(make):
    _, messages = pair_folders(make("images", "a.png"), make("rois", "RoiSet.zip"))
    assert "export the objects as GeoJSON" in messages[1]


def test_slides_of_several_files_are_one_line(make):
    images = make("images", "a.mrxs", "b.vms", "b(0,1).jpg", "c.dcm", "d.dcm")
    (images / "b.vms").write_text("[Virtual Microscope Specimen]\nImageFile=b(0,1).jpg\n")
    (images / "d.dcm").write_bytes(bytes(200))
    (images / "a").mkdir()
    sheet, messages = pair_folders(images, None)
    assert names(sheet, "image") == ["a.mrxs", "b.vms", "d.dcm"]
    assert len(messages) == 1
    assert messages[0].startswith("d.dcm: stands for all 2 DICOM files")
