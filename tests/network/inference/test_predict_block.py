"""What a worker keeps from block to block, and what it writes."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import distributed
import numpy as np
import pytest

from slideunet.errors import DamagedDataError
from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.model_json import read_model_facts
from slideunet.network.inference import device
from slideunet.network.inference import predict_block as predict_block_module
from slideunet.network.inference.plan import PredictionPlan, used_facts
from slideunet.network.inference.predict_block import PredictionTask, predict_block
from slideunet.slides.normalisation import normalisation
from slideunet.slides.statistics import survey
from slideunet.stores import manifests, omezarr

pytestmark = pytest.mark.usefixtures("one_thread", "small_blocks")

SHAPE = (530, 700)  # 2 x 2 blocks of 512 px


@pytest.fixture
def save(random_network, save_network):
    def write(folder, seed=0):
        network = random_network(seed)
        network.head.weight.data /= 20
        return used_facts(read_model_facts(save_network(folder, network)))

    return write


@pytest.fixture
def task(tmp_path, write_store, save):
    pixels = np.random.default_rng(0).integers(0, 255, (1, *SHAPE)).astype(np.uint8)
    image = write_store(tmp_path / "slides" / "S1.json", pixels, statistics=survey(pixels)[0])
    store = tmp_path / "S1.zarr.partial"
    omezarr.create_image(store, pixels.shape, pixels.dtype, channels=["p"], mpp=None)
    plan = PredictionPlan(tmp_path / "model", save(tmp_path / "model"), "torch", "fp32", tile=64)
    constants = normalisation(manifests.read_manifest(image)["statistics"], "percentile", "dark")
    return PredictionTask(plan, image, constants, store)


@pytest.fixture
def opened(monkeypatch):
    """The engines that are opened."""
    engines, open_engine = [], predict_block_module.open_engine

    def record(model, facts, **options):
        engines.append(options)
        return open_engine(model, facts, **options)

    monkeypatch.setattr(predict_block_module, "open_engine", record)
    monkeypatch.setattr(predict_block_module, "_held", predict_block_module._Held())
    return engines


def test_a_block_is_written_into_all_its_levels_and_into_no_other(task):
    facts = predict_block(task, 1)
    rows, columns = BlockGrid(SHAPE)[1]
    levels = omezarr.open_levels(task.store)
    found = levels[0][:]
    assert facts["digest"] == digest(found[:, rows, columns])
    assert facts["seconds"] > 0
    assert found[:, rows, columns].std() > 1
    assert not found[:, :, : columns.start].any() and not found[:, rows.stop :].any()
    for level in range(1, len(levels)):
        assert levels[level][:].any()


def test_what_a_block_is_does_not_depend_on_who_did_which_before(task):
    first = {index: predict_block(task, index)["digest"] for index in range(4)}
    assert {index: predict_block(task, index)["digest"] for index in (3, 1, 0, 2)} == first


def test_a_network_is_loaded_once_and_another_one_when_it_changes(task, opened, save):
    for index in (0, 1, 3):
        predict_block(task, index)
    assert opened == [{"engine": "torch", "heads": (), "precision": "fp32", "threads": 1}]
    before = predict_block(task, 3)["digest"]
    other = replace(task, plan=replace(task.plan, facts=save(task.plan.model, seed=1)))
    assert predict_block(other, 3)["digest"] != before
    assert len(opened) == 2
    predict_block(replace(other, plan=replace(other.plan, precision="bf16")), 3)
    assert len(opened) == 3


@pytest.mark.slow
def test_threads_of_one_worker_load_it_once(task, opened):
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(lambda index: predict_block(task, index)["digest"], range(4)))
    assert len(opened) == 1
    assert digests == [predict_block(task, index)["digest"] for index in range(4)]


def test_weights_that_are_not_those_of_the_plan_are_never_used(task, opened, save):
    save(task.plan.model, seed=1)
    with pytest.raises(DamagedDataError, match="does not match the sha256"):
        predict_block(task, 0)


@pytest.fixture
def worker(monkeypatch):
    """Be the worker of this name, on a machine that shows these GPUs."""

    def be(name, shown):
        device.take_own_gpu.cache_clear()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        monkeypatch.setattr(distributed, "get_worker", lambda: type("Worker", (), {"name": name})())
        device.take_own_gpu()
        device.take_own_gpu()
        return os.environ["CUDA_VISIBLE_DEVICES"]

    yield be
    device.take_own_gpu.cache_clear()


@pytest.mark.parametrize(
    ("name", "shown", "own"),
    [
        (0, "", "0"),
        (3, "", "3"),
        (1, "4,6", "6"),
        (0, "GPU-aa,GPU-bb", "GPU-aa"),
        ("SLURMCluster-0", "5,7", "5,7"),
    ],
)
def test_a_worker_takes_the_gpu_with_its_number_and_keeps_it(worker, name, shown, own):
    assert worker(name, shown) == own


def test_a_process_that_is_no_worker_takes_all(monkeypatch):
    device.take_own_gpu.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    device.take_own_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
