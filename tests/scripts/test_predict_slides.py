import subprocess
import sys

import numpy as np
import pytest

import predict_slides
from slideunet.errors import DamagedDataError, InputError
from slideunet.network.inference import predict_block as predict_block_module
from slideunet.stores import manifests, verified

pytestmark = pytest.mark.usefixtures("one_thread")

SLIDES = ["001", "NA"]


@pytest.fixture
def folder(tmp_path, convert_cells, random_network, save_network):
    for seed, slide in enumerate(SLIDES):
        convert_cells(tmp_path, slide, seed=seed, height=90, width=71)
    save_network(tmp_path / "model", random_network())
    return tmp_path


@pytest.fixture
def run(folder, dask_section, prediction_section):
    def start(slides=SLIDES, threads=2, **changes):
        return predict(folder, dask_section, prediction_section | changes, slides, threads)

    return start


def predict(folder, dask_section, prediction_section, slides, threads):
    predict_slides.main(
        slides_folder=folder / "slides",
        model=folder / "model",
        predictions_folder=folder / "predictions",
        manifest=folder / "batch.json",
        slides=slides,
        method="auto",
        prediction=prediction_section,
        dask=dask_section,
        ome_zarr="0.5",
        threads=threads,
    )
    return manifests.read_manifest(folder / "batch.json")


def pixels(folder, slide="001"):
    return verified.open_image_store(folder / "predictions" / f"{slide}.json")[:]


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "predictions").glob("[!.]*")}


def test_a_batch_is_predicted(folder, run):
    batch = run()
    assert list(batch) == SLIDES
    for slide in SLIDES:
        facts = manifests.read_manifest(folder / "predictions" / f"{slide}.json")
        assert (facts["slide"], facts["fingerprint"], facts["shape"]) == (slide, batch[slide], [1, 90, 71])
        assert facts["precision"] == "fp32"
    assert not np.array_equal(pixels(folder, "001"), pixels(folder, "NA"))


def test_what_is_up_to_date_is_left_alone_without_opening_the_network(folder, run, monkeypatch):
    batch, before = run(), times(folder)
    monkeypatch.setattr(predict_block_module, "open_engine", lambda *args, **options: 1 / 0)
    assert run(tile=64) == batch
    assert times(folder) == before
    with pytest.raises(ZeroDivisionError):
        run(precision="bf16")


@pytest.mark.slow
def test_without_anything_to_do_torch_is_not_loaded(folder, run, dask_section, prediction_section):
    run()
    code = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "from pathlib import Path\n"
        "import predict_slides\n"
        f"folder = Path({str(folder)!r})\n"
        f"predict_slides.main(slides={SLIDES!r}, slides_folder=folder / 'slides', model=folder / 'model',"
        " predictions_folder=folder / 'predictions', manifest=folder / 'batch.json', ome_zarr='0.5',"
        f" prediction={prediction_section!r}, dask={dask_section!r}, method='auto')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_tile_does_not_change_the_prediction(folder, run):
    run()
    expected = pixels(folder)
    for path in (folder / "predictions").glob("*.json"):
        path.unlink()
    run(tile=20, threads=1)
    np.testing.assert_array_equal(pixels(folder), expected)


def test_one_changed_slide_is_predicted_alone_and_another_model_predicts_all(
    folder, run, convert_cells, random_network, save_network
):
    run()
    before = times(folder)
    convert_cells(folder, "NA", seed=5, height=90, width=71)
    run()
    after = times(folder)
    assert {name for name in after if after[name] != before[name]} == {"NA.json", "NA.zarr"}
    save_network(folder / "model", random_network(seed=1))
    run()
    assert all(time != after[name] for name, time in times(folder).items())


def test_problems_are_explained(folder, run):
    with pytest.raises(DamagedDataError, match=r"absent\.json is missing"):
        run(slides=["absent"])
    (folder / "model/model.json").unlink()
    with pytest.raises(InputError, match=r"model\.weights: there is no"):
        run()
    assert not (folder / "batch.json").exists()
