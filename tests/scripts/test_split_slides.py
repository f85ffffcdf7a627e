import pandas as pd
import pytest

import split_slides
from slideunet.errors import DamagedDataError, InputError
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
    pd.DataFrame(rows).assign(image=lambda rows: rows["slide"] + ".tif").to_csv(sheet, sep="\t", index=False)
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


def test_identical_pixels_stop_the_run(cohort, tmp_path):
    rows, manifests = cohort
    write_manifest(manifests[3], {"slide": "003", "n_objects": 7, "content": "sha-NA"})
    with pytest.raises(InputError, match="slides 003, NA have identical pixels"):
        run(rows, manifests, tmp_path)


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
