"""What a worker keeps from block to block, and what it writes."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import distributed
import numpy as np
import pytest

from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.network.inference import predict_block as predict_block_module
from slideunet.network.inference.predict_block import Task, measure_halo, predict_block
from slideunet.slides.statistics import survey
from slideunet.stores import manifests, omezarr

pytestmark = pytest.mark.usefixtures("one_thread", "small_blocks")

SHAPE = (530, 700)  # 2 x 2 blocks of 512 px


@pytest.fixture
def save(random_network, save_network):
    def write(folder, seed=0):
        network = random_network(seed)
        network.head.weight.data /= 20
        return manifests.read_manifest(save_network(folder, network) / "model.json")["sha256"]

    return write


@pytest.fixture
def task(tmp_path, write_store, save):
    pixels = np.random.default_rng(0).integers(0, 255, (1, *SHAPE)).astype(np.uint8)
    image = write_store(tmp_path / "slides" / "S1.json", pixels, statistics=survey(pixels)[0])
    store = tmp_path / "S1.zarr.partial"
    omezarr.create_image(store, pixels.shape, pixels.dtype, channels=["p"], mpp=None)
    return Task(
        image=image, model=tmp_path / "model", sha256=save(tmp_path / "model"), store=store, engine="torch",
        precision="fp32", threads=1, tile=64, halo=None,
    )  # fmt: skip


@pytest.fixture
def opened(monkeypatch):
    """The engines that are opened."""
    engines, open_engine = [], predict_block_module.open_engine

    def record(model, **options):
        engines.append(options)
        return open_engine(model, **options)

    monkeypatch.setattr(predict_block_module, "open_engine", record)
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
    other = replace(task, sha256=save(task.model, seed=1), store=task.store)
    assert predict_block(other, 3)["digest"] != before
    assert len(opened) == 2
    predict_block(replace(other, precision="bf16"), 3)
    assert len(opened) == 3


@pytest.mark.slow
def test_threads_of_one_worker_load_it_once(task, opened):
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(lambda index: predict_block(task, index)["digest"], range(4)))
    assert len(opened) == 1
    assert digests == [predict_block(task, index)["digest"] for index in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 3])
def test_a_short_halo_is_compared_with_the_exact_one(task, index):
    found = measure_halo(replace(task, halo=0), 0.5, index)
    assert 0 < found["largest"] <= 255
    assert 0 <= found["crossing"] <= 1
    exact = BlockGrid(SHAPE)[index]
    parts = []
    for halo in (None, 0):
        predict_block(replace(task, halo=halo), index)
        parts.append(omezarr.open_level(task.store, 0)[(0, *exact)].astype(int))
    assert found["largest"] == np.abs(parts[0] - parts[1]).max()
    assert found["crossing"] == ((parts[0] >= 128) != (parts[1] >= 128)).mean()


@pytest.fixture
def worker(monkeypatch):
    """Be the worker of this name, on a machine that shows these GPUs."""

    def be(name, shown):
        predict_block_module._take_own_gpu.cache_clear()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        monkeypatch.setattr(distributed, "get_worker", lambda: type("Worker", (), {"name": name})())
        predict_block_module._take_own_gpu()
        predict_block_module._take_own_gpu()
        return os.environ["CUDA_VISIBLE_DEVICES"]

    yield be
    predict_block_module._take_own_gpu.cache_clear()


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
    predict_block_module._take_own_gpu.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    predict_block_module._take_own_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
