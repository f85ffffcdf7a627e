import json

import numpy as np
import pytest

from slideunet.errors import DamagedDataError, InputError
from slideunet.network.architecture import model_folder
from slideunet.network.inference import choose_engine as choose_engine_module
from slideunet.network.inference import engines
from slideunet.network.inference import predict_block as predict_block_module
from slideunet.network.inference import predict_slide as predict_slide_module
from slideunet.network.inference.plan import plan_prediction
from slideunet.network.inference.predict_batch import predict_batch
from slideunet.slides.statistics import survey
from slideunet.stores import manifests

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path, write_store, random_network, save_network):
    for seed, slide in enumerate("abc"):
        pixels = np.random.default_rng(seed).integers(0, 255, (1, 60, 71)).astype(np.uint8)
        write_store(
            tmp_path / "slides" / f"{slide}.json",
            pixels,
            slide=slide,
            statistics=survey(pixels)[0],
            scale=1.0,
        )
    save_network(tmp_path / "model", random_network())
    return tmp_path


@pytest.fixture
def run(folder, prediction_section, dask_section):
    def predict(slides="abc", part=None, dask=None, method="auto", **changes):
        plan = plan_prediction(
            folder / "model",
            folder / "predictions",
            prediction_section | changes,
            method=method,
            version="0.5",
            threads=2,
            pixels=3 * 60 * 71,
        )
        predict_batch(
            {slide: folder / "slides" / f"{slide}.json" for slide in slides},
            folder / "predictions",
            plan,
            dask=dask_section | (dask or {}),
            threads=2,
            memory_mb=2000,
            part=part,
        )
        return sorted(path.stem for path in (folder / "predictions").glob("[!.]*.json"))

    return predict


def test_the_network_that_was_timed_predicts_and_gives_the_same_bytes(folder, run, monkeypatch):
    def blocks():
        path = folder / "predictions" / "a.json"
        return manifests.read_manifest(path)["blocks"]

    run("a", engine="openvino", precision="fp32")
    expected, loads, load = blocks(), [], model_folder.load_network
    (folder / "predictions" / "a.json").unlink()
    for module in (model_folder, engines):
        monkeypatch.setattr(module, "load_network", lambda *given: loads.append(given) or load(*given))
    # Two precisions of the same name: some machines have one only.
    monkeypatch.setattr(engines, "candidates", lambda *given: ("fp32", "fp32"))
    monkeypatch.setattr(choose_engine_module, "_LEAST_TIMED", 0)
    monkeypatch.setattr(predict_block_module, "_held", predict_block_module._Held())
    run("a", engine="openvino", precision="auto")
    assert (len(loads), blocks()) == (1, expected)


@pytest.fixture
def predicted(monkeypatch):
    done, predict = [], predict_slide_module.predict_slide

    def record(image, *arguments, **options):
        done.append((image.stem, options["part"], options["threads"]))
        return predict(image, *arguments, **options)

    monkeypatch.setattr(predict_slide_module, "predict_slide", record)
    return done


def test_only_what_is_not_up_to_date_is_predicted(folder, run, predicted, caplog):
    caplog.set_level("INFO")
    assert run("ab") == ["a", "b"]
    assert run() == ["a", "b", "c"]
    assert predicted == [("a", None, 2), ("b", None, 2), ("c", None, 2)]
    assert "1 slide to predict, 2 up to date" in caplog.messages
    assert run(tile=64) == ["a", "b", "c"]
    assert len(predicted) == 3


def test_one_slide_that_is_damaged_does_not_keep_the_others_from_being_predicted(folder, run):
    chunk = manifests.store_path(folder / "slides" / "b.json") / "0" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(DamagedDataError, match=r"slides/b\.zarr/0 cannot be read"):
        run()
    assert sorted(path.stem for path in (folder / "predictions").glob("[!.]*.json")) == ["a", "c"]


def test_a_part_leaves_small_slides_to_who_finishes(run, predicted):
    assert run(part=(0, 3)) == []
    assert run(part=(2, 3)) == []
    assert run() == ["a", "b", "c"]
    assert len(predicted) == 9


def test_the_choice_of_the_first_job_is_kept_for_all(folder, run, monkeypatch):
    monkeypatch.setattr(
        choose_engine_module,
        "_choose",
        lambda *arguments: {"engine": "torch", "precision": "bf16", "host": "first"},
    )
    run("a", engine="auto", precision="auto")
    monkeypatch.setattr(choose_engine_module, "_choose", lambda *arguments: 1 / 0)
    run("bc", engine="auto", precision="auto")
    for slide in "abc":
        facts = manifests.read_manifest(folder / "predictions" / f"{slide}.json")
        assert (facts["engine"], facts["precision"]) == ("torch", "bf16")


def test_a_model_that_is_none_is_explained(folder, run):
    (folder / "model" / "model.json").write_text(json.dumps({"sha256": "a"}))
    with pytest.raises(InputError, match="is not a model of slideunet"):
        run()


@pytest.mark.parametrize(
    ("method", "names"), [("auto", ["distance"]), ("centres", ["centre", "dy", "dx"]), ("watershed", None)]
)
def test_only_the_maps_that_the_method_needs_are_kept(
    run, folder, save_network, random_network, method, names
):
    save_network(folder / "model", random_network(heads=["centres", "distance"]))
    run("a", method=method)
    told = manifests.read_manifest(folder / "predictions" / "a.json").get("maps")
    assert (told and told["names"]) == names
    assert (manifests.store_path(folder / "predictions" / "a.json") / "maps").is_dir() == (names is not None)
