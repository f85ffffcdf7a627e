import json

import numpy as np
import pytest

import predict_slides
from slideunet.slides.statistics import survey
from slideunet.stores import manifests

pytestmark = pytest.mark.usefixtures("one_thread", "small_blocks")


@pytest.fixture
def folder(tmp_path, write_store, random_network, save_network):
    pixels = np.random.default_rng(0).integers(0, 255, (1, 1030, 90)).astype(np.uint8)  # 3 blocks
    write_store(
        tmp_path / "slides" / "S1.json", pixels, slide="S1", statistics=survey(pixels)[0], scale=1.0, mpp=0.5
    )
    save_network(tmp_path / "model", random_network())
    return tmp_path


def run(folder, prediction, dask, name, **options):
    predict_slides.main(
        slides=["S1"],
        slides_folder=folder / "slides",
        model=folder / "model",
        predictions_folder=folder / name,
        manifest=folder / f"{name}.json",
        prediction=prediction,
        method="auto",
        dask=dask | {"workers": 1},
        ome_zarr="0.5",
        **options,
    )
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.slow
def test_parts_and_who_finishes_make_the_same_as_one_job(folder, prediction_section, dask_section):
    section = prediction_section | {"parts": 2}
    for part in (1, 0):
        told = run(folder, section, dask_section, "parts", part=part)
        assert told == {"slides": ["S1"], "part": part, "parts": 2}
        assert not (folder / "parts" / "S1.json").exists()
    batches = [run(folder, section, dask_section, name) for name in ("parts", "at_once")]
    facts = [manifests.read_manifest(folder / name / "S1.json") for name in ("parts", "at_once")]
    assert facts[0]["blocks"] == facts[1]["blocks"]
    assert len(facts[0]["blocks"]) == 3
    assert batches[0] == batches[1] == {"S1": facts[0]["fingerprint"]}
