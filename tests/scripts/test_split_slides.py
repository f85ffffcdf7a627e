import numpy as np
import pandas as pd
import pytest
import tifffile

import split_slides
from slideunet.errors import DamagedDataError, InputError
from slideunet.slides.convert import ConversionPlan, convert, read_slide
from slideunet.stores.manifests import write_manifest


@pytest.fixture
def cohort(tmp_path):
    slides = [*(f"00{i}" for i in range(8)), "NA"]
    rows = [
        {
            "slide": slide,
            "group": f"g{i // 2}",
            "stratum": "",
            "split": "",
            "labels": "" if slide == "NA" else "m.tif",
        }
        for i, slide in enumerate(slides)
    ]
    manifests = [tmp_path / f"{slide}.json" for slide in slides]
    for path in manifests:
        count = None if path.stem == "NA" else 7
        write_manifest(path, {"slide": path.stem, "n_objects": count, "content": f"sha-{path.stem}"})
    return rows, manifests


def run(rows, manifests, tmp_path, **changes):
    table = tmp_path / "split.tsv"
    choices = {"val": 0.25, "test": 0.25, "seed": 0, "training": True, "learned": None} | changes
    sheet = tmp_path / "sheet.tsv"
    pd.DataFrame(rows).assign(image="i.tif").to_csv(sheet, sep="\t", index=False)
    slides = [path.stem for path in manifests]
    split_slides.main(sheet=sheet, slides=slides, slides_folder=tmp_path, split_table=table, **choices)
    return pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False)


def test_the_table_has_every_slide_once(cohort, tmp_path):
    table = run(*cohort, tmp_path)
    assert list(table.columns) == ["slide", "group", "stratum", "split", "n_objects", "content"]
    assert table["slide"].tolist() == [row["slide"] for row in cohort[0]]
    assert table["split"].value_counts().to_dict() == {"train": 4, "val": 2, "test": 2, "predict": 1}
    assert table.set_index("slide").loc["001", ["n_objects", "content"]].tolist() == ["7", "sha-001"]
    assert table.set_index("slide").loc["NA", "n_objects"] == ""


def test_a_new_slide_to_predict_changes_one_line(cohort, tmp_path):
    rows, manifests = cohort
    before = run(rows[:-1], manifests[:-1], tmp_path)
    after = run(rows, manifests, tmp_path)
    pd.testing.assert_frame_equal(after[after["slide"] != "NA"], before)


@pytest.fixture
def equal(tmp_path):
    """Eight converted slides of one patient each: two have equal pixels, the last one is unlabelled."""
    rng = np.random.default_rng(0)

    def make(cells_of_second=2, value=None, split=("", "")):
        rows, manifests = [], []
        for number in range(8):
            image = rng.integers(0, 255, (21, 34), np.uint8)
            if number < 2:
                image = (
                    np.full_like(image, value) if value else np.arange(image.size).reshape(image.shape) % 251
                )
            labels = np.zeros(image.shape, np.uint16)
            labels[2:6, 3:9], labels[9:14, 9:30] = 1, cells_of_second if number == 1 else 2
            if value and number < 2:
                labels[:] = 0
            row = {"slide": f"s{number}", "group": f"g{number}", "stratum": "", "mpp": ""}
            row |= {
                "split": split[number] if number < 2 else "",
                "labels": str(tmp_path / f"{number}_labels.tif"),
            }
            tifffile.imwrite(tmp_path / f"{number}.tif", image.astype(np.uint8))
            tifffile.imwrite(row["labels"], labels)
            row |= {"image": str(tmp_path / f"{number}.tif"), "labels": row["labels"] if number < 7 else ""}
            manifests.append(tmp_path / f"s{number}.json")
            convert(read_slide(row), ConversionPlan(), manifests[-1])
            rows.append(row)
        return rows, manifests

    return make


def test_equal_pixels_on_different_sides_stop_the_run(equal, tmp_path):
    with pytest.raises(InputError, match=r"slides s0 \(train\), s1 \(test\) have identical pixels"):
        run(*equal(split=("train", "test")), tmp_path)


def test_equal_pixels_under_different_truth_stop_the_run_whatever_the_sides(equal, tmp_path):
    rows, manifests = equal(cells_of_second=0, split=("test", "test"))
    with pytest.raises(InputError, match=r"slides s0 .*, 2 cells\), s1 .*, 1 cells\) have identical pixels"):
        run(rows, manifests, tmp_path)
    rows[1]["split"] = "predict"
    assert len(run(rows, manifests, tmp_path)) == 8


def test_equal_pixels_and_truth_on_one_side_are_a_warning(equal, tmp_path, caplog):
    run(*equal(split=("val", "val")), tmp_path)
    assert "slide s0: has the same pixels as s1; they count 2 times in the split 'val'" in caplog.text


def test_empty_fields_on_different_sides_are_a_warning(equal, tmp_path, caplog):
    run(*equal(value=9, split=("train", "test")), tmp_path)
    assert "slide s0: is empty" in caplog.text


def test_an_unlabelled_slide_may_equal_any_other(equal, tmp_path, caplog):
    rows, manifests = equal(split=("train", "train"))
    rows[1] |= {"labels": "", "split": "predict"}
    run(rows, manifests, tmp_path)
    assert "slide s0: has the same pixels as s1" in caplog.text


def test_a_missing_manifest_stops_the_run(cohort, tmp_path):
    cohort[1][0].unlink()
    with pytest.raises(DamagedDataError):
        run(*cohort, tmp_path)


def test_training_slides_of_a_pretrained_model_are_not_test_slides(cohort, tmp_path):
    rows, manifests = cohort
    facts = {"architecture": {}, "normalisation": "percentile", "background": "dark", "halo": 96}
    facts |= {"threshold": 0.5, "precision": "fp32", "sha256": "", "training": {"contents": ["sha-002"]}}
    write_manifest(tmp_path / "model.json", facts)
    splits = run(rows, manifests, tmp_path, training=False, learned=tmp_path).set_index("slide")["split"]
    # 003 is of the same group.
    assert splits["002"] == splits["003"] == "train"
    assert set(splits.drop(["002", "003", "NA"])) == {"test"}
    rows[2]["split"] = "test"
    with pytest.raises(InputError, match="slide 002 has the split 'test'"):
        run(rows, manifests, tmp_path, training=False, learned=tmp_path)


def test_training_slides_of_a_fine_tuned_model_are_not_test_slides_either(cohort, tmp_path):
    rows, manifests = cohort
    facts = {"training": {"contents": ["sha-001", "sha-004"]}} | dict.fromkeys(
        ("architecture", "normalisation", "background", "halo", "threshold", "precision", "sha256")
    )
    write_manifest(tmp_path / "model.json", facts)
    for seed in range(5):
        splits = run(rows, manifests, tmp_path, learned=tmp_path, seed=seed).set_index("slide")["split"]
        assert set(splits[["001", "004"]]) == {"train"}
        assert {"val", "test"} <= set(splits)
