from pathlib import Path

import numpy as np
import pytest
import tifffile

from slideunet.errors import InputError
from slideunet.inputs import sheet_problems
from slideunet.inputs.load_run import load_run
from slideunet.stores.manifests import write_manifest

ROOT = Path(__file__).resolve().parents[2]
FACTS = {
    "architecture": {}, "normalisation": "percentile", "background": "dark", "halo": 96, "threshold": 0.5,
    "precision": "fp32", "sha256": "",
}  # fmt: skip


@pytest.fixture
def load(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8))
    (tmp_path / "slides.tsv").write_text("slide\timage\na\ta.tif\n")
    write_manifest(tmp_path / "model" / "model.json", FACTS | {"diameter": {"p05": 10.0, "p95": 30.0}})
    write_manifest(tmp_path / "old" / "model.json", FACTS)
    write_manifest(tmp_path / "half" / "model.json", FACTS)
    for name in ("model", "old"):
        (tmp_path / name / "model.safetensors").touch()

    def run(**config):
        return load_run(
            {"slides": "slides.tsv", "model": {"weights": "model"}} | config,
            config_files=[tmp_path / "config.yaml"],
            schemas=ROOT / "workflow" / "schemas",
            root=ROOT,
        )

    (tmp_path / "config.yaml").write_text("slides: slides.tsv\n")
    return run


@pytest.mark.parametrize(
    ("config", "diameter"),
    [
        ({}, "auto"),
        ({"cells": {"diameter": None}}, None),
        ({"cells": {"diameter": 50}}, 50),
        ({"data": {"mpp": 0.5}}, None),
    ],
)
def test_slides_are_scaled_for_a_given_model_unless_something_else_sets_their_scale(load, config, diameter):
    assert load(**config).diameter == diameter


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {}}, r"cells\.diameter: .* trains its own"),
        ({"data": {"mpp": 0.5}}, r"cells\.diameter and data\.mpp: both"),
        ({"model": {"weights": "old"}}, r"old/model\.json does not have the cell diameter"),
        ({"model": {"weights": "nowhere"}}, r"model\.json in nowhere\. Bundled models: nuclei-b"),
        ({"model": {"weights": "nuclei-flourescence"}}, r"Did you mean 'nuclei-fluorescence'\?"),
        ({"model": {"weights": "half"}}, r"half has a model\.json but no model\.safetensors"),
        ({"cells": {"diameter": 0}}, r"cells\.diameter"),
        ({"cells": {"diameter": "20 px"}}, r"cells\.diameter"),
    ],
)
def test_a_diameter_that_means_nothing_is_refused(load, config, message):
    with pytest.raises(InputError, match=message):
        load(**{"cells": {"diameter": 40}} | config)


def test_encoder_weights_are_found_beside_the_configuration_and_a_missing_file_is_named(load, tmp_path):
    (tmp_path / "lite.pth").write_bytes(b"")
    found = load(model={"encoder": "efficientnet_lite0", "encoder_weights": "lite.pth", "weights": "model"})
    assert found.config["model"]["encoder_weights"] == str(tmp_path / "lite.pth")
    with pytest.raises(InputError, match=r"model\.encoder_weights: there is no file none\.pth"):
        load(model={"encoder": "efficientnet_lite0", "encoder_weights": "none.pth", "weights": "model"})


@pytest.mark.parametrize("name", ["nuclei-fluorescence", "nuclei-fluorescence-fast", "nuclei-brightfield"])
def test_a_model_that_ships_is_found_by_its_name(load, name):
    run = load(model={"weights": name}, cells={"diameter": 400})
    assert run.weights == ROOT / "resources" / "models" / name
    assert run.diameter == 400


def test_a_misspelt_column_of_the_report_names_the_nearest(load, tmp_path):
    (tmp_path / "slides.tsv").write_text("slide\timage\tscanner\na\ta.tif\tx\n")
    assert load(report={"by": ["scanner", "group"]}).config["report"]["by"] == ["scanner", "group"]
    with pytest.raises(InputError, match=r"no column 'scaner'\. Did you mean 'scanner'\?"):
        load(report={"by": ["scaner"]})


@pytest.fixture
def faulty(load, tmp_path):
    """A sheet with two faults, and images with three."""
    rng = np.random.default_rng(0)
    for name in "bcdef":
        labels = np.zeros((61, 47), np.uint16)
        labels[3:9, 4:11], labels[20:31, 20:33] = 1, 2
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.integers(0, 255, labels.shape, np.uint8))
        tifffile.imwrite(tmp_path / f"{name}_labels.tif", labels)
    whole = (tmp_path / "c.tif").read_bytes()
    (tmp_path / "c.tif").write_bytes(whole[: len(whole) // 2])
    tifffile.imwrite(tmp_path / "d_labels.tif", labels.T)
    tifffile.imwrite(tmp_path / "e.tif", tifffile.imread(tmp_path / "f.tif"))
    tifffile.imwrite(tmp_path / "e_labels.tif", np.minimum(labels, 1) * 255)
    tifffile.imwrite(tmp_path / "f_labels.tif", np.roll(labels, 1, 0))
    rows = [f"{name}\t{name}.tif\t{name}_labels.tif\t" for name in "cdef"]
    rows = ["slide\timage\tlabels\tmpp", "b\tb.tif\tnowhere.tif\t", rows[0] + "half", *rows[1:]]
    (tmp_path / "slides.tsv").write_text("\n".join(rows) + "\n")
    return load


def messages(load, **config):
    with pytest.raises(InputError) as caught:
        load(**config)
    return caught.value.problems


def test_problems_of_the_sheet_and_inside_images_come_in_one_list_by_row(faulty):
    found = messages(faulty)
    expected = [
        ("line 2, slide b: ", "nowhere.tif does not exist"),
        ("line 3, slide c: ", "mpp is 'half'"),
        ("line 3, slide c: ", "truncated"),
        ("line 4, slide d: ", "transposed"),
        ("lines 5 and 6: ", "different ground truth"),
    ]
    assert [start for start, _ in expected] == [
        text.removeprefix("slides.tsv ")[: len(s)] for text, (s, _) in zip(found, expected, strict=True)
    ]
    assert [part for text, (_, part) in zip(found, expected, strict=True) if part not in text] == []


def test_an_error_of_the_configuration_has_images_checked_too(faulty, tmp_path):
    text = (tmp_path / "slides.tsv").read_text().replace("nowhere.tif", "b_labels.tif").replace("half", "")
    (tmp_path / "slides.tsv").write_text(text)
    assert faulty().sheet["slide"].tolist() == list("bcdef")
    found = messages(faulty, training={"epoch": 3}, cells={"min_area": -1})
    assert ["configuration" in text for text in found] == [True, True, False, False, False]
    # How images are to be read is not known here.
    assert len(messages(faulty, data={"channels": "red"})) == 1


def test_problems_of_the_split_come_too(faulty):
    assert "split.val is 0" in messages(faulty, model={}, split={"val": 0})[-1]
    # With a model, labelled slides need no split.
    assert "split.val" not in messages(faulty, split={"val": 0})[-1]


def test_without_a_problem_no_image_is_opened(load, tmp_path):
    (tmp_path / "a.tif").write_bytes(b"no image")
    assert load().sheet["slide"].tolist() == ["a"]


def test_images_that_were_not_reached_in_time_are_counted(faulty, monkeypatch):
    monkeypatch.setattr(sheet_problems.sheet_problems, "__kwdefaults__", {"stopping": False, "seconds": 0})
    found = messages(faulty)
    assert len(found) == 3
    assert found[-1].startswith("5 of 5 images were not checked yet")


def test_numbers_of_channels_are_those_of_the_model(faulty, tmp_path):
    write_manifest(tmp_path / "model" / "model.json", FACTS | {"architecture": {"channels": 3}})
    # That of the truncated image is not known.
    assert sum("has 1 channels but the model needs 3" in text for text in messages(faulty)) == 4


def write_earlier(folder):
    write_manifest(folder / "results/report/summary.json", {})
    return folder


def label_the_sheet(folder):
    tifffile.imwrite(folder / "l.tif", np.zeros((64, 64), np.uint8))
    (folder / "slides.tsv").write_text("slide\timage\tlabels\na\ta.tif\tl.tif\n")


def test_earlier_runs_are_found_beside_the_configuration_and_in_their_order(load, tmp_path):
    label_the_sheet(tmp_path)
    folders = [write_earlier(tmp_path / name) for name in ("run2", "run 1")]
    found = load(report={"compare_with": ["model/../run2", str(folders[1])]}).earlier
    assert found == tuple(folder / "results/report/summary.json" for folder in folders)
    assert load().earlier == ()


def test_all_folders_that_are_no_earlier_runs_are_named(load, tmp_path, monkeypatch):
    label_the_sheet(tmp_path)
    (tmp_path / "unfinished" / "results").mkdir(parents=True)
    own = write_earlier(tmp_path / "own")
    monkeypatch.chdir(own)
    with pytest.raises(InputError) as caught:
        load(report={"compare_with": ["unfinished", "../own", "nowhere"]})
    first, itself, last = caught.value.problems
    assert "no finished run, with results/report/summary.json, in unfinished" in first
    assert "../own is the folder of this run itself" in itself
    assert "in nowhere" in last


def test_without_labels_there_is_nothing_to_compare(load, tmp_path):
    write_earlier(tmp_path / "run1")
    with pytest.raises(InputError, match=r"report\.compare_with: .* no slide has `labels`"):
        load(report={"compare_with": ["run1"]})


@pytest.mark.parametrize("value", ["run1", [1], [""], {"a": 1}, ["run1", "run1"]])
def test_earlier_runs_are_a_list_of_folders(load, tmp_path, value):
    label_the_sheet(tmp_path)
    write_earlier(tmp_path / "run1")
    with pytest.raises(InputError, match=r"report\.compare_with"):
        load(report={"compare_with": value})
