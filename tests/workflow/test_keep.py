"""`data.keep`: the same cells and scores with and without the stores that they are made of, and re-runs."""

import json
import os

import numpy as np
import pytest
import tifffile

from slideunet.stores.kept import dropped_parts

SLIDES = ("f0", "f1", "f2")
RESULTS = ("cells/{}.parquet", "cells/{}.geojson.gz", "metrics/{}.json")
CONFIG = {
    "slides": "slides.tsv",
    "model": {"weights": "nuclei-fluorescence"},
    "prediction": {"engine": "openvino", "precision": "fp32"},
}


def write_sheet(folder, count):
    """The first slide has no labels."""
    rows = [f"{name}\t{name}.tif\t{f'{name}_labels.tif' if name != 'f0' else ''}" for name in SLIDES[:count]]
    (folder / "slides.tsv").write_text("\n".join(["slide\timage\tlabels", *rows]) + "\n")


def repeat(folder, name):
    """Make a field three times as large: an image of up to 256 px is its own overview."""
    image, labels = (folder / f"{name}{kind}.tif" for kind in ("", "_labels"))
    tifffile.imwrite(image, np.tile(tifffile.imread(image), (3, 3)))
    one = tifffile.imread(labels)
    shifts = np.arange(9, dtype=one.dtype).reshape(3, 3) * (one.max() + 1)
    many = np.tile(one, (3, 3))
    tifffile.imwrite(labels, np.where(many > 0, many + np.kron(shifts, np.ones_like(one)), 0))


@pytest.fixture(scope="module")
def run(tmp_path_factory, snakemake, write_field):
    """Run in the folder of a `data.keep`; return the rules that ran. A test begins where the last ended."""
    shared = tmp_path_factory.mktemp("keep")

    def run(keep, *arguments, **config):
        folder = shared / ("all" if keep == "all" else "some")
        if not folder.exists():
            folder.mkdir()
            for seed, name in enumerate(SLIDES):
                write_field(folder, name, seed=seed, donor=seed)
                repeat(folder, name)
            write_sheet(folder, 2)
        result = snakemake(folder, *arguments, config=CONFIG | {"data": {"keep": keep}} | config)
        assert result.returncode == 0, result.stdout + result.stderr
        text = result.stdout + result.stderr
        listed = text.partition("Job stats:")[2].partition("\n\n")[0].splitlines()[3:-1]
        return {line.split()[0] for line in listed if line.split()} - {"all"}

    run.folder = lambda name: shared / name
    return run


def assert_equal_results(first, second, count=2):
    for slide in SLIDES[:count]:
        for name in (name.format(slide) for name in RESULTS if slide != "f0" or "metrics" not in name):
            assert (first / "results" / name).read_bytes() == (second / "results" / name).read_bytes(), name


def gone(folder, slide):
    return dropped_parts(json.loads((folder / f"results/predictions/{slide}.json").read_text()))


def test_what_is_not_kept_changes_no_result_and_a_run_again_does_nothing(run):
    run("all")
    ran = run(["cells"])
    every, some = run.folder("all"), run.folder("some")
    assert {"drop_parts", "drop_labels", "predict_slides"} <= ran
    assert_equal_results(every, some)
    for slide in SLIDES[:2]:
        assert gone(some, slide) == {"maps", "predictions", "labels"}
        assert gone(every, slide) == frozenset()
        assert json.loads((some / f"results/slides/{slide}.json").read_text())["first_level"] == 1
    sizes = [
        sum(file.stat().st_size for file in (folder / "results/predictions").rglob("*"))
        for folder in (every, some)
    ]
    assert sizes[1] < 0.5 * sizes[0]
    assert "<img" in (some / "results/report/report.html").read_text()
    assert run(["cells"]) == set()


def test_a_run_that_was_killed_before_it_dropped_drops_and_computes_nothing(run):
    some = run.folder("some")
    batch = next((some / "results/batches").glob("*/convert_slides.json"))
    left = [batch.with_name(f"{name}.json") for name in ("predict_slides", "label_cells")]
    for path in left:
        path.write_text("{}")
        os.utime(path, ns=(batch.stat().st_mtime_ns,) * 2)
    half = some / "results/predictions/f1.zarr/maps/0"
    half.mkdir(parents=True)
    batch.with_name("drop_parts.json").unlink()
    (some / "results/batches/drop_labels.json").unlink()
    assert run(["cells"]) == {"drop_parts", "drop_labels"}
    assert not half.exists()
    assert not any(path.exists() for path in left)


def test_a_changed_parameter_makes_again_what_it_needs(run):
    own = {"cells": {"min_area": 60}}
    every, some = run.folder("all"), run.folder("some")
    ran = run(["cells"], **own)
    assert {"predict_slides", "label_cells", "measure_cells", "score_slides"} <= ran
    assert not {"check_inputs", "convert_slides", "split_slides"} & ran
    ran = run("all", **own)
    assert not {"predict_slides", "convert_slides"} & ran
    assert_equal_results(every, some)
    assert gone(some, "f1") == {"maps", "predictions", "labels"}


def test_a_new_slide_is_the_only_one_that_is_computed(run):
    own, some = {"cells": {"min_area": 60}}, run.folder("some")
    manifests = [some / f"results/predictions/{slide}.json" for slide in SLIDES[:2]]
    before = [path.read_bytes() for path in manifests]
    write_sheet(some, 3)
    run(["cells"], **own)
    assert [path.read_bytes() for path in manifests] == before
    assert gone(some, "f2") == {"maps", "predictions", "labels"}
    page = (some / "results/report/report.html").read_text()
    assert "No pictures of 2 slides: their labels or pixels are no longer there" in page


def test_what_is_to_stay_from_now_on_is_made_again(run):
    some = run.folder("some")
    run(["slides", "predictions", "labels"], cells={"min_area": 60})
    for slide in SLIDES[:2]:
        assert gone(some, slide) == {"maps"}
        assert not (some / f"results/cells/{slide}.parquet").exists()
        assert (some / f"results/predictions/{slide}.zarr/labels/cells").is_dir()
