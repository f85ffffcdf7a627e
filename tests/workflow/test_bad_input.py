"""What a user gets wrong ends with exit code 2 and every problem by name, before any heavy job."""

import numpy as np
import pytest
import tifffile


def fields(folder, names):
    rng = np.random.default_rng(0)
    for name in names:
        labels = np.zeros((64, 60), np.uint16)
        labels[10:20, 10:20], labels[30:45, 30:41] = 1, 2
        image = rng.integers(0, 99, labels.shape, np.uint16) + 500 * (labels > 0).astype(np.uint16)
        tifffile.imwrite(folder / f"{name}.tif", image)
        tifffile.imwrite(folder / f"{name}_labels.tif", labels)
    return [f"{name}\t{name}.tif\t{name}_labels.tif\t{name}" for name in names]


def sheet(folder, rows):
    (folder / "slides.tsv").write_text("\n".join(["slide\timage\tlabels\tgroup", *rows]) + "\n")
    return {"slides": "slides.tsv"}


def test_all_problems_of_the_images_come_together(tmp_path, snakemake, tiny):
    rows = fields(tmp_path, "abcdef")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    tifffile.imwrite(tmp_path / "b_labels.tif", tifffile.imread(tmp_path / "b_labels.tif").T)
    broken = tifffile.imread(tmp_path / "c.tif").astype(np.float32)
    broken[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "c.tif", broken)
    result = snakemake(tmp_path, config=tiny | sheet(tmp_path, rows))
    assert result.returncode == 2
    account = result.stderr.split("What went wrong")[1]
    assert [slide for slide in "abcdef" if f"slide {slide}: " in account] == ["a", "b", "c"]
    assert "transposed" in account
    assert "x 4" in account
    assert not (tmp_path / "results/slides").exists()


def test_problems_of_configuration_sheet_and_images_come_together_before_any_job(tmp_path, snakemake):
    rows = [*fields(tmp_path, "abz")[:2], "a;touch x\tz.tif\t\tg", "c\tgone.tif\t\tg"]
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:-1000])
    result = snakemake(tmp_path, config=sheet(tmp_path, rows) | {"training": {"lr": "1e-4"}})
    assert result.returncode == 2
    problems = ("training.learning_rate", "line 3, slide b: ", "a;touch x", "line 5, slide c: ", "2 groups")
    places = [result.stderr.index(problem) for problem in ("5 problems", *problems)]
    assert places == sorted(places)
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("slides: slides.tsv\ntraining: {learning_rate: 1e-4}\n", "1.0e-4"),
        ("slides: slides.tsv\nslides: other.tsv\n", "slides"),
        ("slides: nowhere.tsv\n", "nowhere.tsv"),
        ("slides: slides.tsv\nmodel: {weights: nowhere}\n", "nowhere"),
    ],
)
def test_configuration_traps_are_named(tmp_path, snakemake, text, hint):
    sheet(tmp_path, fields(tmp_path, "abc"))
    (tmp_path / "my.yaml").write_text(text)
    result = snakemake(tmp_path)
    assert result.returncode == 2, result.stderr
    assert hint in result.stderr
    assert "Traceback" not in result.stderr


def test_equal_pixels_under_different_truth_stop_the_run_before_anything_is_converted(
    tmp_path, snakemake, tiny
):
    rows = fields(tmp_path, "abcdef")
    (tmp_path / "f.tif").write_bytes((tmp_path / "a.tif").read_bytes())
    tifffile.imwrite(tmp_path / "f_labels.tif", np.roll(tifffile.imread(tmp_path / "f_labels.tif"), 1, 0))
    result = snakemake(tmp_path, config=tiny | sheet(tmp_path, rows))
    assert result.returncode == 2
    account = result.stderr.split("What went wrong")[1]
    assert "slides.tsv lines 2 and 7: slides a (" in account and "identical pixels" in account
    assert not (tmp_path / "results/slides").exists()


def test_nothing_labelled_and_no_model(tmp_path, snakemake):
    rows = [row.replace("a_labels.tif", "") for row in fields(tmp_path, "a")]
    result = snakemake(tmp_path, config=sheet(tmp_path, rows))
    assert result.returncode == 2
    assert "model.weights" in result.stderr


def test_a_damaged_slide_is_set_aside_and_done_once_it_is_mended(
    tmp_path, snakemake, random_network, save_network
):
    rows = [row.replace(f"{row[0]}_labels.tif", "") for row in fields(tmp_path, "abc")]
    save_network(tmp_path / "model", random_network(), training={"contents": []})
    # Two slides with equal pixels go on.
    (tmp_path / "c.tif").write_bytes((tmp_path / "a.tif").read_bytes())
    good = (tmp_path / "b.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(good[: len(good) // 2])
    config = sheet(tmp_path, rows) | {"model": {"weights": "model"}, "prediction": {"engine": "torch"}}
    result = snakemake(tmp_path, config=config)
    assert result.returncode == 2, result.stdout + result.stderr
    account = result.stderr.split("1 slide was skipped")[1]
    assert "slide b: " in account and "Traceback" not in account
    results = tmp_path / "results"
    assert sorted(path.stem for path in (results / "predictions").glob("[!.]*.json")) == ["a", "c"]
    assert "slide b: " in (results / "report/report.html").read_text()
    assert ">a</a></strong>: has the same pixels as c" in (results / "report/report.html").read_text()
    (tmp_path / "b.tif").write_bytes(good)
    result = snakemake(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (results / "cells/b.parquet").is_file()
    assert "slide b: " not in (results / "report/report.html").read_text()


def test_a_store_that_was_damaged_is_named_and_no_report_is_made(
    tmp_path, snakemake, random_network, save_network
):
    rows = [row.replace(f"{row[0]}_labels.tif", "") for row in fields(tmp_path, "ab")]
    save_network(tmp_path / "model", random_network(), training={"contents": []})
    config = sheet(tmp_path, rows) | {"model": {"weights": "model"}, "prediction": {"engine": "torch"}}
    assert snakemake(tmp_path, "results/batches/small-all/convert_slides.json", config=config).returncode == 0
    chunk = tmp_path / "results/slides/a.zarr/0/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-7])
    result = snakemake(tmp_path)
    assert result.returncode == 3, result.stdout + result.stderr
    assert "slides/a.zarr/0 cannot be read" in result.stderr.split("What went wrong")[1]
    assert (tmp_path / "results/predictions/b.json").is_file()
    assert not (tmp_path / "results/predictions/a.json").exists()
    assert not (tmp_path / "results/report/report.html").exists()
