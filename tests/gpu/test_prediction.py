"""Predictions on a GPU: the same bytes however the slide is cut, and those of the CPU but for rounding."""

import functools
import importlib.util
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from slideunet.geometry.tiles import Tile
from slideunet.network.architecture.model_folder import load_model
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.inference.predict_region import predict_core
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.slides.normalisation import Normalisation

pytestmark = pytest.mark.gpu

MODEL = Path(__file__).parents[2] / "resources/models/nuclei-fluorescence"
CONSTANTS = Normalisation((90.0,), (70.0,))
NETWORKS = ("light", "standard", "shipped")
PRECISIONS = ("fp32", "bf16")


@pytest.fixture(scope="module")
def network_of(random_network):
    """The networks that are compared; half of the probabilities are neither 0 nor 1."""

    @functools.lru_cache
    def build(name):
        if name == "shipped":
            network = load_model(MODEL)[0].eval()
            network.head.bias.data.zero_()
        else:
            network = random_network(width={"light": 16, "standard": 32}[name], depth=4, heads=["distance"])
        network.head.weight.data /= 20
        return network

    return build


@pytest.fixture(scope="module")
def engine_of(network_of, device):
    @functools.lru_cache
    def build(name, precision, where=device):
        network = network_of(name)
        return TorchEngine(network, precision, where, halo(network.spec))

    return build


@pytest.fixture(scope="module")
def whole_of(engine_of, draw, side):
    """The pixels, and their prediction in as large tiles as are used."""

    @functools.lru_cache
    def predict(name, precision):
        pixels = draw(1, side, side - 101)
        core = ((0, side), (0, side - 101))
        found = predict_core(engine_of(name, precision), pixels, CONSTANTS, core)
        assert ((found[0] > 0) & (found[0] < 255)).mean() > 0.05
        return pixels, found

    return predict


def around(block, engine):
    """Return the tile of a core with the halo around it."""
    rows, columns = ((engine.halo, side - engine.halo) for side in block.shape[1:])
    return Tile(block, (rows, columns))


both = pytest.mark.parametrize(("name", "precision"), list(itertools.product(NETWORKS, PRECISIONS)))


@both
@pytest.mark.parametrize("tiles", [11, 5, 3, 2])
def test_tiles_do_not_change_a_byte(engine_of, whole_of, name, precision, tiles):
    pixels, expected = whole_of(name, precision)
    core = ((0, pixels.shape[1]), (0, pixels.shape[2]))
    tile = -(-pixels.shape[1] // tiles)
    found = predict_core(engine_of(name, precision), pixels, CONSTANTS, core, tile=tile)
    differ = np.abs(found.astype(int) - expected)
    assert not differ.any(), f"{(differ > 0).mean():.2e} of the bytes, by up to {differ.max()}"


@both
def test_blocks_do_not_change_a_byte(engine_of, whole_of, name, precision):
    pixels, expected = whole_of(name, precision)
    height, width = pixels.shape[1:]
    for rows, columns in (((0, height // 3), (7, width)), ((height // 2 + 5, height), (0, width // 3))):
        found = predict_core(engine_of(name, precision), pixels, CONSTANTS, (rows, columns))
        np.testing.assert_array_equal(found, expected[:, slice(*rows), slice(*columns)])


@both
def test_batches_of_tiles_in_flight_do_not_change_a_byte(engine_of, draw, device, name, precision):
    """Alone, in any order behind others, and from several threads."""
    engine = engine_of(name, precision)
    side = (512 if device.type == "cuda" else 32) + 2 * engine.halo
    tiles = [around(draw(1, side, side - 16 * (seed % 2), seed), engine) for seed in range(6)]
    alone = [next(engine.predict([tile], CONSTANTS)).copy() for tile in tiles]
    for order in (range(6), range(5, -1, -1)):
        for index, found in zip(order, engine.predict((tiles[i] for i in order), CONSTANTS), strict=True):
            np.testing.assert_array_equal(found, alone[index])
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: [maps.copy() for maps in engine.predict(tiles, CONSTANTS)], range(3)):
            for one, other in zip(found, alone, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_in_fp32_it_is_within_one_grey_level_of_the_cpu(engine_of, whole_of, name):
    """Without TF32, whose 10 bits would show."""
    pixels, expected = whole_of(name, "fp32")
    part = tuple((side // 3, side // 3 + min(side // 3, 300)) for side in pixels.shape[1:])
    found = predict_core(engine_of(name, "fp32", torch.device("cpu")), pixels, CONSTANTS, part)
    differ = np.abs(found.astype(int) - expected[:, slice(*part[0]), slice(*part[1])])
    # Where the foreground is about as improbable as it may be, other maps are 0 or not.
    differ = differ[:, np.abs(found[0].astype(int) - 26) > 1]
    assert differ.max() <= 1
    assert (differ > 0).mean() < 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_in_bf16_it_is_near_fp32(whole_of, name):
    fp32, bf16 = (whole_of(name, precision)[1][0].astype(int) for precision in PRECISIONS)
    assert np.abs(fp32 - bf16).mean() < 2


def test_pixels_of_16_bits_travel_as_they_are(engine_of, draw):
    engine = engine_of("light", "fp32")
    constants = Normalisation((9000.0,), (21000.0,))
    tile = draw(1, 256 + 2 * engine.halo, 256 + 2 * engine.halo, dtype=np.uint16)
    normalised = around(constants.apply(tile), engine)
    expected = next(engine.predict([normalised], Normalisation((0.0,), (1.0,)))).copy()
    for dtype in (np.uint16, np.int32, ">u2"):
        found = next(engine.predict([around(tile.astype(dtype), engine)], constants))
        np.testing.assert_array_equal(found, expected)


def test_tiles_are_halved_when_memory_runs_out(network_of, device, draw, side, memory):
    network = network_of("light")
    engine = TorchEngine(network, "fp32", device, halo(network.spec))
    side = side if device.type == "cuda" else 600  # Halves must not be shorter than the shortest core.
    pixels, core = draw(1, side, side), ((0, side), (0, side))
    expected = predict_core(engine, pixels, CONSTANTS, core, tile=side // 8)
    fits = 900_000_000 if device.type == "cuda" else (side // 2 + 2 * engine.halo) ** 2
    with memory(engine._network, fits):
        found = predict_core(engine, pixels, CONSTANTS, core, tile=side)
        assert engine.tile_limit is not None and engine.tile_limit < side
        again = predict_core(engine, pixels, CONSTANTS, core, tile=side)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.skipif(importlib.util.find_spec("zarr") is None, reason="stores need zarr")
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_slide_goes_from_store_to_store(
    tmp_path, device, write_store, save_network, network_of, draw, at_once
):
    """Two blocks that are read, computed and written beside each other."""
    from slideunet.model_json import read_model_facts
    from slideunet.network.inference.engines import open_engine
    from slideunet.network.inference.plan import PredictionPlan, used_facts
    from slideunet.network.inference.predict_slide import predict_slide
    from slideunet.stores.verified import open_image_store

    pixels = draw(1, 90, 4096 + 150)
    statistics = [{"low": 90.0, "median": 90.0, "high": 160.0, "min": 90.0, "max": 160.0}]
    slide = write_store(tmp_path / "slides/S.json", pixels, slide="S", statistics=statistics, scale=1.0)
    model = save_network(tmp_path / "model", network_of("light"), normalisation="unit")
    facts = used_facts(read_model_facts(model))
    plan = PredictionPlan(model, facts, "torch", "fp32", tissue="none")
    predict_slide(slide, tmp_path / "predictions/S.json", plan, at_once=at_once)
    engine = open_engine(model, facts, engine="torch", precision="fp32", threads=1)
    core = ((0, pixels.shape[1]), (0, pixels.shape[2]))
    expected = predict_core(engine, pixels, Normalisation((90.0,), (70.0,)), core)[:1]
    np.testing.assert_array_equal(open_image_store(tmp_path / "predictions/S.json")[:], expected)
