import dask
import numpy as np
import ome_zarr_models.v05.image
import pytest
import torch
import zarr

from slideunet.images import omezarr, stores
from slideunet.images.normalisation import Normalisation, normalisation
from slideunet.network import prediction
from slideunet.network.inference import for_inference, predict_tiles, to_uint8
from slideunet.network.prediction import lazy_prediction, open_network, predict_slide
from slideunet.network.unet import halo
from slideunet.network.weights import save_model

pytestmark = pytest.mark.usefixtures("one_thread")

CONSTANTS = Normalisation((100.0,), (60.0,))


@pytest.fixture(scope="module")
def facts():
    return {
        "normalisation": "percentile",
        "background": "dark",
        "halo": 24,
        "sha256": "abc",
        "threshold": 0.5,
    }


def draw(shape):
    return np.random.default_rng(1).integers(0, 255, (1, *shape)).astype(np.uint8)


def in_one_piece(network, pixels, constants=CONSTANTS, precision="fp32"):
    ((_, logits),) = predict_tiles(network, pixels, constants, tile=1024, precision=precision)
    return to_uint8(logits)[None]


@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (97, 131)])
def test_tiles_and_threads_do_not_change_one_bit(random_network, decoder, precision, shape):
    network = for_inference(random_network(width=8, decoder=decoder))
    pixels = draw(shape)
    expected = in_one_piece(network, pixels, precision=precision)
    for tile, threads in ((16, 3), (48, 1), (64, 3), (128, 1)):
        lazy = lazy_prediction(
            network, pixels, CONSTANTS, tile=tile, halo=halo(network.spec), precision=precision
        )
        assert (lazy.shape, lazy.dtype) == ((1, *shape), np.uint8)
        with dask.config.set(scheduler="threads", num_workers=threads):
            np.testing.assert_array_equal(lazy.compute(), expected)


def test_every_tile_is_computed_once_with_one_thread_inside(random_network, monkeypatch, tmp_path):
    torch.set_num_threads(2)
    places, threads = [], set()

    def record(network, pixels, constants, place, precision):
        places.append(place.core)
        threads.add(torch.get_num_threads())
        return np.zeros([stop - start for start, stop in place.core], np.float32)

    monkeypatch.setattr(prediction, "predict_tile", record)
    lazy = lazy_prediction(
        random_network(), draw((1500, 1100)), CONSTANTS, tile=400, halo=24, precision="fp32"
    )
    with dask.config.set(scheduler="threads", num_workers=3):
        omezarr.write_image(tmp_path / "p.zarr", lazy, channels=["foreground"], mpp=None)
    assert sorted(places) == sorted(set(places))
    assert len(places) == 4 * 3
    assert threads == {1}


@pytest.mark.parametrize("tile", [None, 33])
def test_a_predicted_slide_is_a_valid_store_with_a_manifest(
    random_network, slide_store, facts, tmp_path, tile
):
    network, manifest = for_inference(random_network()), tmp_path / "S1.json"
    predict_slide(
        network,
        facts,
        slide_store,
        manifest,
        fingerprint="f",
        precision="fp32",
        tile=tile,
        version="0.5",
        threads=2,
    )
    slide = stores.read_manifest(slide_store)
    constants = normalisation(slide["statistics"], "percentile", "dark")
    found = stores.open_image_store(manifest)[:]
    np.testing.assert_array_equal(
        found, in_one_piece(network, stores.open_image_store(slide_store)[:], constants)
    )
    assert found.min() < found.max()
    told = stores.read_manifest(manifest)
    assert told | {"seconds": 0, "pixels_per_second": 0, "versions": {}} == {
        "slide": "S1", "fingerprint": "f", "shape": [1, 150, 133], "model_sha256": "abc", "precision": "fp32",
        "mpp": 0.5, "scale": 1.0, "seconds": 0, "pixels_per_second": 0, "versions": {},
    }  # fmt: skip
    assert ome_zarr_models.v05.image.Image.from_zarr(zarr.open_group(stores.store_path(manifest), mode="r"))


def test_a_failure_in_a_tile_leaves_the_old_prediction(
    random_network, slide_store, facts, tmp_path, monkeypatch
):
    network, manifest = for_inference(random_network()), tmp_path / "S1.json"
    choices = {"precision": "fp32", "tile": 64, "version": "0.5", "threads": 2}
    predict_slide(network, facts, slide_store, manifest, fingerprint="old", **choices)
    old = stores.open_image_store(manifest)[:]

    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(prediction, "predict_tile", fail)
    with pytest.raises(ZeroDivisionError):
        predict_slide(network, facts, slide_store, manifest, fingerprint="new", **choices)
    assert stores.is_current(manifest, "old")
    np.testing.assert_array_equal(stores.open_image_store(manifest)[:], old)


def test_a_saved_network_predicts_what_it_predicted(random_network, tmp_path):
    network = random_network()
    description = {"architecture": network.spec.as_dict(), "normalisation": "unit", "background": "dark"}
    description |= {"threshold": 0.5, "halo": 24, "precision": "fp32"}
    save_model(tmp_path, network.state_dict(), description)
    opened = open_network(tmp_path).cpu()
    assert not opened.training
    pixels = draw((50, 60))
    np.testing.assert_array_equal(in_one_piece(opened, pixels), in_one_piece(for_inference(network), pixels))
