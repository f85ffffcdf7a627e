import pandas as pd
import pytest
import tifffile

import convert_slides
from slideunet import quarantine
from slideunet.errors import InputError
from slideunet.slides.convert import ConversionPlan
from slideunet.stores import manifests, verified


@pytest.fixture
def rows(tmp_path, draw_cells):
    rows = []
    for seed, slide in enumerate(("001", "NA")):
        image, labels = draw_cells(height=60, width=71, seed=seed)
        tifffile.imwrite(tmp_path / f"{slide}.tif", image[0])
        tifffile.imwrite(tmp_path / f"{slide}_labels.tif", labels)
        files = {"image": str(tmp_path / f"{slide}.tif"), "labels": str(tmp_path / f"{slide}_labels.tif")}
        rows.append({"slide": slide, "group": "d", "stratum": "", "split": "", "mpp": "0.5", **files})
    rows[1]["labels"] = ""
    return rows


def run(rows, folder, training=True, **plan):
    pd.DataFrame(rows).to_csv(folder / "sheet.tsv", sep="\t", index=False)
    convert_slides.main(
        sheet=folder / "sheet.tsv",
        slides=[row["slide"] for row in rows],
        training=training,
        slides_folder=folder / "slides",
        manifest=folder / "batch.json",
        plan=ConversionPlan(**plan),
        quarantine_folder=folder / "excluded",
        threads=2,
    )
    return manifests.read_manifest(folder / "batch.json")


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "slides").glob("[!.]*")}


def test_a_batch_is_converted_and_a_second_time_left_alone(rows, tmp_path):
    batch = run(rows, tmp_path)
    assert list(batch) == ["001", "NA"]
    assert manifests.is_current(tmp_path / "slides/001.json", batch["001"])
    assert manifests.read_manifest(tmp_path / "slides/001.json")["n_objects"] > 3
    assert manifests.read_manifest(tmp_path / "slides/NA.json")["n_objects"] is None
    before = times(tmp_path)
    assert run(rows, tmp_path) == batch
    assert times(tmp_path) == before


def test_one_changed_slide_is_converted_alone(rows, tmp_path, draw_cells):
    run(rows, tmp_path)
    before = times(tmp_path)
    tifffile.imwrite(tmp_path / "NA.tif", 255 - draw_cells(height=60, width=71)[0][0])
    run(rows, tmp_path)
    assert {name for name, time in times(tmp_path).items() if time != before[name]} == {"NA.json", "NA.zarr"}


def test_all_problems_are_reported_together_and_the_good_slides_are_done(rows, tmp_path):
    bad = [rows[0] | {"slide": name, "image": str(tmp_path / f"{name}.png")} for name in ("x", "y")]
    with pytest.raises(InputError) as caught:
        run([bad[0], rows[0], bad[1]], tmp_path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["slide x", "slide y"]
    assert (tmp_path / "slides/001.json").exists()
    assert not (tmp_path / "batch.json").exists()


@pytest.mark.parametrize(("change", "training"), [({"split": "predict"}, True), ({}, False)])
def test_a_slide_that_fails_is_excluded_when_nothing_depends_on_it(rows, tmp_path, change, training):
    bad = rows[0] | {"slide": "x", "image": str(tmp_path / "x.png")} | change
    assert list(run([bad, *rows], tmp_path, training)) == ["001", "NA"]
    assert list(quarantine.read(tmp_path / "excluded")) == ["x"]
    assert not (tmp_path / "slides/x.json").exists()


def test_the_slides_of_other_batches_are_left_to_them(rows, tmp_path):
    pd.DataFrame(rows).to_csv(tmp_path / "sheet.tsv", sep="\t", index=False)
    assert list(run(rows[1:], tmp_path)) == ["NA"]
    assert not (tmp_path / "slides/001.json").exists()


def test_a_slide_that_the_check_has_excluded_is_not_tried_again(rows, tmp_path):
    quarantine.put(tmp_path / "excluded", "NA", InputError("slide NA: is damaged."))
    assert list(run(rows, tmp_path)) == ["001"]
    assert not (tmp_path / "slides/NA.json").exists()


def test_the_working_resolution_is_that_of_image_and_truth(rows, tmp_path):
    run(rows, tmp_path, mpp=1.0)
    facts = manifests.read_manifest(tmp_path / "slides/001.json")
    assert (facts["mpp"], facts["scale"], facts["shape"]) == (1.0, 2.0, [1, 30, 36])
    labels = tifffile.imread(rows[0]["labels"])
    found = verified.open_label_store(tmp_path / "slides/001.json", "truth")[:]
    assert found.shape == (30, 36)
    assert set(found.ravel()) <= set(labels.ravel())
