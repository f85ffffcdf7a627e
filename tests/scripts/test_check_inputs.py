import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.io import imsave

import check_inputs
from slideunet import quarantine
from slideunet.errors import InputError
from slideunet.inputs import batches
from slideunet.inputs.sheet import load_sheet
from slideunet.inputs.split import split_sheet


@pytest.fixture
def rows(tmp_path):
    random = np.random.default_rng(0)
    made = []
    for slide in ("S1", "S2", "S3"):
        labels = np.zeros((40, 33), np.uint16)
        labels[5:15, 5:15], labels[20:30, 20:30] = 1, 2
        tifffile.imwrite(tmp_path / f"{slide}.tif", random.integers(0, 255, (40, 33), np.uint8))
        tifffile.imwrite(tmp_path / f"{slide}_labels.tif", labels)
        row = {"slide": slide, "group": slide, "stratum": "", "split": "", "mpp": ""}
        files = {"image": f"{slide}.tif", "labels": f"{slide}_labels.tif"}
        made.append(row | {column: str(tmp_path / name) for column, name in files.items()})
    return made


@pytest.fixture
def run(tmp_path, write_sheet):
    def main(rows, **changes):
        choices = {"channels": None, "mpp": None, "truth_keys": {}, "model": None, "seen": False}
        choices |= {"val": 0.15, "test": 0.15, "seed": 0} | changes
        check_inputs.main(
            sheet=write_sheet(rows), threads=2, table=tmp_path / "inputs.tsv",
            complete=tmp_path / "complete.tsv", quarantine_folder=tmp_path / "excluded", **choices,
        )  # fmt: skip
        return pd.read_csv(tmp_path / "inputs.tsv", sep="\t")

    return main


def test_a_good_cohort(run, rows):
    table = run(rows)
    assert table["slide"].tolist() == ["S1", "S2", "S3"]
    assert (table["batch"] == "small-all").all()


def test_the_sheet_is_completed_for_the_jobs_that_follow(run, rows, tmp_path):
    absent = ("group", "stratum", "split", "mpp")
    short = [{name: value for name, value in row.items() if name not in absent} for row in rows]
    for row in short:
        row |= {"image": Path(row["image"]).name, "labels": Path(row["labels"]).name, "stain": "001"}
    run(short)
    complete = load_sheet(tmp_path / "complete.tsv")
    pd.testing.assert_frame_equal(complete, load_sheet(tmp_path / "sheet.tsv"))
    assert complete.drop(columns="stain").to_dict("records") == rows
    assert set(complete["stain"]) == {"001"}


def test_an_image_that_fills_a_batch_is_alone_in_it(run, rows, monkeypatch):
    monkeypatch.setattr(batches, "MOST_BYTES", 1)
    assert len(set(run(rows)["batch"])) == 3


def test_all_problems_of_all_slides_come_together_and_no_table(run, rows, tmp_path):
    (tmp_path / "S1.tif").write_bytes(b"no image")
    (tmp_path / "S2_labels.tif").unlink()
    tifffile.imwrite(tmp_path / "S3.tif", np.zeros((33, 40), np.uint8))
    rows[2]["group"] = "S1"
    with pytest.raises(InputError) as caught:
        run(rows)
    starts = [problem.split(":")[0] for problem in caught.value.problems]
    assert starts[:3] == [f"sheet.tsv line {i + 1}, slide S{i}" for i in (1, 2, 3)]
    assert "there are 2 groups" in starts[3]
    assert not (tmp_path / "inputs.tsv").exists()


def test_a_slide_that_the_run_can_do_without_is_excluded(run, rows, tmp_path):
    (tmp_path / "S2.tif").write_bytes(b"no image")
    rows[1] |= {"labels": "", "split": "predict"}
    more = [row | {"slide": f"T{i}", "group": f"T{i}"} for i, row in enumerate(rows) if row["labels"]]
    for row in more:
        tifffile.imwrite(tmp_path / f"{row['slide']}.tif", tifffile.imread(row["image"]) // 2)
        row["image"] = str(tmp_path / f"{row['slide']}.tif")
    table = run([*rows, *more])
    assert "S2" not in table["slide"].tolist()
    ((slide, excluded),) = quarantine.read(tmp_path / "excluded").items()
    assert (slide, excluded.exit_code) == ("S2", 2)
    assert excluded.problems[0].startswith("slide S2: ")
    tifffile.imwrite(tmp_path / "S2.tif", np.eye(40, 33, dtype=np.uint8))
    assert "S2" in run([*rows, *more])["slide"].tolist()
    assert quarantine.read(tmp_path / "excluded") == {}


def test_when_no_slide_is_left_the_run_stops(run, rows, tmp_path):
    (tmp_path / "S1.tif").write_bytes(b"no image")
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"architecture": {"channels": 1}}))
    with pytest.raises(InputError, match=r"sheet\.tsv line 2, slide S1: "):
        run(rows[:1], model=model)


@pytest.fixture
def equal(rows, tmp_path):
    """The third slide has the pixels of the first one, as PNG, and its cells, with other ids."""
    image, labels = (tifffile.imread(tmp_path / f"S1{kind}.tif") for kind in ("", "_labels"))
    imsave(tmp_path / "S3.png", image, check_contrast=False)
    tifffile.imwrite(tmp_path / "S3_labels.tif", np.where(labels, 3 - labels, 0).astype(np.uint16))
    rows[2]["image"] = str(tmp_path / "S3.png")
    return rows


def test_equal_slides_that_are_only_predicted_are_a_warning(run, equal, caplog):
    more = [row | {"slide": f"P{i}", "labels": "", "split": "predict"} for i, row in enumerate(equal)]
    rows = [*more, equal[0], equal[1], equal[1] | {"slide": "S4", "group": "S4", "image": equal[1]["labels"]}]
    table = run(rows).set_index("slide")
    assert "slide P0: has the same pixels as P2, S1" in [record.message for record in caplog.records]
    assert table.loc["P0", "warnings"] == "has the same pixels as P2, S1"


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val"), ("val", "test")])
def test_equal_slides_on_different_sides_of_the_split_are_an_error(run, equal, splits, tmp_path):
    equal[0]["split"], equal[2]["split"] = splits
    equal[1]["split"] = ({"train", "val", "test"} - set(splits)).pop()
    with pytest.raises(InputError) as caught:
        run(equal)
    (problem,) = caught.value.problems
    named = f"S1 ({splits[0]}), S3 ({splits[1]})"
    assert problem.startswith(f"sheet.tsv lines 2 and 4: slides {named} have identical pixels")
    assert not (tmp_path / "inputs.tsv").exists()


def test_sides_that_the_split_assigns_count_unless_a_model_has_seen_slides(run, equal):
    more = [row | {"slide": f"T{i}", "group": f"T{i}"} for i, row in enumerate(equal)]
    for seed in range(8):
        rows = [*equal, *more]
        split = split_sheet(pd.DataFrame(rows), val=0.15, test=0.15, seed=seed, training=True)
        sides = [{split[slide] for slide in slides} for slides in (("S1", "S3", "T0", "T2"), ("S2", "T1"))]
        if max(map(len, sides)) == 1:
            run(rows, seed=seed)
        else:
            with pytest.raises(InputError, match="on different sides"):
                run(rows, seed=seed)
        run(rows, seed=seed, seen=True)


def test_equal_slides_under_different_truth_are_an_error_with_or_without_a_model(run, equal, tmp_path):
    labels = tifffile.imread(tmp_path / "S3_labels.tif")
    labels[35:39, 3:9] = 3
    tifffile.imwrite(tmp_path / "S3_labels.tif", labels)
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"architecture": {"channels": 1}}))
    for options in ({"seen": True}, {"seen": True, "model": model}):
        with pytest.raises(InputError) as caught:
            run(equal, **options)
        (problem,) = caught.value.problems
        assert problem.startswith("sheet.tsv lines 2 and 4: slides S1 (")
        assert "S1_labels.tif, 2 cells), S3 (" in problem and "S3_labels.tif, 3 cells)" in problem
    equal[2]["split"] = "predict"
    run(equal, model=model, seen=True)


def test_empty_fields_are_a_warning_on_any_side(run, rows, tmp_path, caplog):
    more = []
    for row, split in zip(rows, ("train", "val", "test"), strict=True):
        names = {"image": tmp_path / f"E{split}.tif", "labels": tmp_path / f"E{split}_labels.tif"}
        tifffile.imwrite(names["image"], np.full((40, 33), 7, np.uint8))
        tifffile.imwrite(names["labels"], np.zeros((40, 33), np.uint16))
        more.append(
            row | {"slide": split, "group": split, "split": split} | {k: str(v) for k, v in names.items()}
        )
    run([*rows, *more])
    assert any("slide train: is empty" in record.message for record in caplog.records)


def test_an_excluded_slide_is_equal_to_none(run, equal, tmp_path):
    tifffile.imwrite(tmp_path / "S3_labels.tif", np.ones((33, 40), np.uint8))
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"architecture": {"channels": 1}}))
    run(equal, model=model, seen=True)
    assert list(quarantine.read(tmp_path / "excluded")) == ["S3"]


def test_a_working_resolution_needs_a_pixel_size(run, rows):
    with pytest.raises(InputError, match="mpp"):
        run(rows, mpp=0.5)
    assert run([row | {"mpp": "0.25"} for row in rows], mpp=0.5)["mpp"].tolist() == [0.25] * 3


def test_a_model_needs_its_channels_and_no_groups(run, rows, tmp_path):
    model = tmp_path / "model.json"
    with pytest.raises(InputError, match=r"model\.weights"):
        run(rows, model=model)
    model.write_text(json.dumps({"architecture": {"channels": 1}}))
    assert len(run(rows[:1], model=model)) == 1
    model.write_text(json.dumps({"architecture": {"channels": 3}}))
    with pytest.raises(InputError, match="has 1 channels but the model needs 3"):
        run(rows, model=model)


def test_many_warnings_are_counted_instead_of_listed(run, rows, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(check_inputs, "_MOST_WARNINGS", 2)
    for slide in ("S1", "S2", "S3"):
        tifffile.imwrite(tmp_path / f"{slide}.tif", np.full((40, 33), ord(slide[1]), np.uint8))
    table = run(rows)
    messages = [record.message for record in caplog.records]
    assert [text.split(":")[0] for text in messages] == ["slide S1", "slide S2", "... and 1 more like these"]
    assert str(tmp_path / "inputs.tsv") in messages[2]
    assert table["warnings"].str.contains("shows nothing").all()
