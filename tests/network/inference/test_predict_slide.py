"""One slide, cut up in every way: by tiles, blocks, parts, processes and kills."""

import functools
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import ome_zarr_models.v05.image
import pytest
import zarr

from slideunet.cells.separation.decoding import Decoding
from slideunet.clusters import ClusterSpec
from slideunet.clusters.client import open_client
from slideunet.errors import DamagedDataError
from slideunet.geometry.blocks import BlockGrid
from slideunet.model_json import int8_facts, read_model_facts
from slideunet.network.architecture.unet import UNetSpec
from slideunet.network.inference import predict_slide as predict_slide_module
from slideunet.network.inference.engines import open_engine
from slideunet.network.inference.plan import PredictionPlan, used_facts
from slideunet.network.inference.predict_block import PredictionTask
from slideunet.network.inference.predict_region import predict_core
from slideunet.network.inference.predict_slide import predict_slide
from slideunet.network.inference.scaling.rescaled import predict_at
from slideunet.network.inference.scaling.sizing import Sizing
from slideunet.slides import tissue
from slideunet.slides.normalisation import Normalisation, normalisation
from slideunet.slides.statistics import survey
from slideunet.stores import manifests, verified
from slideunet.stores.resumable import Building, read_journal

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (540, 1030)  # 2 x 3 blocks of 512 px
PLAN = PredictionPlan(Path(), {}, "openvino", "fp32", tissue="none", heads=("centres",))


class Killed(BaseException):
    pass


def draw(shape=SHAPE, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (channels, *shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def save(random_network, save_network, ranges_for):
    """Save a network half of whose probabilities are neither 0 nor 1."""

    def write(folder, seed=0, channels=1, background="dark"):
        network = random_network(seed, channels=channels, heads=["distance", "centres"])
        network.head.weight.data /= 20
        return save_network(folder, network, background=background, int8=int8_facts(ranges_for(network)))

    return write


@pytest.fixture(scope="module")
def model(tmp_path_factory, save):
    """A model that is not to be changed: it is loaded once."""
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def own_model(tmp_path, save):
    return save(tmp_path / "model")


@pytest.fixture
def add_slide(tmp_path, write_store):
    def add(pixels, name="S1", **facts):
        facts = {"slide": name, "statistics": survey(pixels)[0], "mpp": 0.5, "scale": 1.0} | facts
        return write_store(tmp_path / "slides" / f"{name}.json", pixels, **facts)

    return add


@pytest.fixture
def slide(small_blocks, add_slide):
    return add_slide(draw())


@pytest.fixture
def manifest(tmp_path):
    return tmp_path / "predictions" / "S1.json"


@pytest.fixture
def predicted(monkeypatch):
    """The blocks that are predicted, in their order."""
    done, predict = [], predict_slide_module.predict_block

    def record(task, index):
        done.append(index)
        return predict(task, index)

    monkeypatch.setattr(predict_slide_module, "predict_block", record)
    return done


def plan_for(model, plan=PLAN):
    """The plan for the model that lies in a folder now."""
    facts = used_facts(read_model_facts(model), plan.precision)
    return replace(plan, model=model.absolute(), facts=facts)


@functools.lru_cache
def engine_of(model, sha256, engine, precision):
    facts = read_model_facts(model)
    return open_engine(model, facts, engine=engine, heads=PLAN.heads, precision=precision, threads=1)


def in_one_piece(slide, model, plan=PLAN, predict=predict_core):
    """The oracle: the whole slide as one part."""
    sha256 = manifests.read_manifest(model / "model.json")["sha256"]
    engine = engine_of(model, sha256, plan.engine, plan.precision)
    facts = manifests.read_manifest(slide)
    pixels = verified.open_image_store(slide)[:]
    background = "dark" if len(pixels) == 1 else "bright"
    constants = normalisation(facts["statistics"], "percentile", background)
    return predict(engine, pixels, constants, tuple((0, side) for side in pixels.shape[1:]))


def check(slide, model, manifest, plan=PLAN):
    expected = in_one_piece(slide, model, plan)
    facts = manifests.read_manifest(manifest)
    assert facts["blocks"] == verified.block_digests(expected[:1])
    assert facts["maps"] == {
        "names": ["centre", "dy", "dx"], "blocks": verified.block_digests(expected[1:])
    }  # fmt: skip
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], expected[:1])
    np.testing.assert_array_equal(verified.open_maps_store(manifest)[:], expected[1:])
    assert ((expected > 0) & (expected < 255)).mean() > 0.1


def killed_after(n, monkeypatch, *arguments, **options):
    record = Building.record

    def die(self, index, facts):
        if len(self.done) == n:
            raise Killed
        record(self, index, facts)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Building, "record", die)
        predict_slide(*arguments, **options)


# However it is cut up


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "precision", "threads", "tile"),
    [
        ("openvino", "fp32", 2, None),
        ("openvino", "fp32", 1, 64),
        ("openvino", "bf16", 1, 300),
        ("openvino", "int8", 2, None),
        ("openvino", "int8", 1, 64),
        ("openvino", "int8-bf16", 1, 300),
        ("torch", "fp32", 2, None),
        ("torch", "fp32", 1, 100),
    ],
)
def test_blocks_and_tiles_do_not_change_a_byte(slide, model, manifest, engine, precision, threads, tile):
    plan = replace(PLAN, engine=engine, precision=precision, tile=tile)
    predict_slide(slide, manifest, plan_for(model, plan), threads=threads)
    check(slide, model, manifest, plan)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "order", "precision"),
    [
        (3, (2, 0, 1), "fp32"),
        (2, (1, 0), "fp32"),
        (9, range(8, -1, -1), "fp32"),
        (3, (2, 0, 1), "int8"),
    ],
)
def test_parts_in_any_order_do_not_change_a_byte(slide, model, manifest, predicted, parts, order, precision):
    plan = replace(PLAN, precision=precision)
    for part in order:
        predict_slide(slide, manifest, plan_for(model, plan), part=(part, parts))
        assert not manifest.exists()
    assert sorted(predicted) == list(range(6))
    predict_slide(slide, manifest, plan_for(model, plan))
    assert len(predicted) == 6
    check(slide, model, manifest, plan)


@pytest.mark.parametrize("diameter", [5.0, 90.0])
def test_cells_of_another_size_are_seen_at_another_scale(slide, model, manifest, diameter, caplog):
    caplog.set_level("INFO")
    plan = plan_for(model, replace(PLAN, sizing=Sizing((10, 50), diameter, Decoding(0.5, "centres"))))
    predict_slide(slide, manifest, plan)
    scale = {5.0: 0.5, 90.0: 2.0}[diameter]
    facts = manifests.read_manifest(manifest)
    assert facts["cell_size"] == {"scale": scale, "diameter": diameter}
    assert f"S1: cells of about {diameter:g} px, " in caplog.text
    expected = in_one_piece(slide, model, predict=functools.partial(predict_at, scale=scale))
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], expected[:1])
    np.testing.assert_array_equal(verified.open_maps_store(manifest)[:], expected[1:])
    assert (expected != in_one_piece(slide, model)).mean() > 0.1


def test_all_parts_of_a_slide_see_it_at_the_scale_that_the_first_chose(slide, model, manifest, monkeypatch):
    plan = plan_for(model, replace(PLAN, sizing=Sizing((10, 50), None, Decoding(0.5, "centres"))))
    scales = iter([2.0, 4.0])
    monkeypatch.setattr(
        "slideunet.network.inference.predict_slide.choose_slide_scale",
        lambda task: {"scale": next(scales), "diameter": 70.0},
    )
    predict_slide(slide, manifest, plan, part=(1, 2))
    predict_slide(slide, manifest, plan)
    expected = in_one_piece(slide, model, predict=functools.partial(predict_at, scale=2.0))
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], expected[:1])


def test_what_parts_have_left_is_done_by_who_finishes(slide, model, manifest, predicted):
    predict_slide(slide, manifest, plan_for(model), part=(1, 3))
    predict_slide(slide, manifest, plan_for(model))
    assert predicted == [2, 3, 0, 1, 4, 5]
    check(slide, model, manifest)


@pytest.mark.slow
@pytest.mark.parametrize("n", [0, 1, 5])
def test_an_interrupted_prediction_does_the_missing_blocks_only(
    slide, model, manifest, predicted, monkeypatch, caplog, n
):
    caplog.set_level("INFO")
    killed_after(n, monkeypatch, slide, manifest, plan_for(model))
    assert not manifest.exists()
    assert predicted == list(range(n + 1))  # the last one was written and not noted
    predicted.clear()
    predict_slide(slide, manifest, plan_for(model, replace(PLAN, tile=128)), threads=2)
    assert predicted == list(range(n, 6))
    assert (f"S1: resuming, {n} of 6 blocks are done" in caplog.messages) == (n > 0)
    check(slide, model, manifest)


@pytest.mark.parametrize("at_once", [2, 5])
def test_blocks_that_one_process_has_in_hand_do_not_change_a_byte(slide, model, manifest, at_once):
    plan = replace(PLAN, engine="torch", tile=100)
    predict_slide(slide, manifest, plan_for(model, plan), at_once=at_once)
    check(slide, model, manifest, plan)


def test_the_first_block_that_fails_ends_the_others_and_what_was_done_is_kept(
    slide, model, manifest, predicted, monkeypatch
):
    def fail(task, index):
        predicted.append(index)
        return {"digest": "0" * 64} if index < 2 else 1 / 0

    monkeypatch.setattr(predict_slide_module, "predict_block", fail)
    with pytest.raises(ZeroDivisionError):
        predict_slide(slide, manifest, plan_for(model), at_once=2)
    (store,) = manifest.parent.glob("*.partial")
    assert sorted(read_journal(store)) == [0, 1]
    # Two in hand, and one whose place is free when its result is asked for.
    assert len(predicted) <= 5


# What belongs to what

CHANGES = {
    "engine": {"engine": "torch"},
    "precision": {"precision": "bf16"},
    "int8": {"precision": "int8"},
    "tissue": {"tissue": "auto"},
    "version": {"version": "0.4"},
}


@pytest.mark.slow
@pytest.mark.parametrize("change", [*CHANGES, "weights", "pixels", "code", "version of the engine"])
def test_blocks_of_another_kind_are_never_taken_over(
    slide, model, own_model, manifest, predicted, monkeypatch, save, add_slide, change
):
    model = own_model if change == "weights" else model
    killed_after(4, monkeypatch, slide, manifest, plan_for(model))
    predicted.clear()
    plan = replace(PLAN, **CHANGES.get(change, {}))
    if change == "weights":
        save(model, seed=1)
    elif change == "pixels":
        add_slide(255 - draw(), fingerprint="other")
    elif change == "code":
        monkeypatch.setattr(predict_slide_module, "__version__", "0.0.0.other")
    elif change == "version of the engine":
        monkeypatch.setattr(predict_slide_module, "engine_version", lambda engine: "0")
    predict_slide(slide, manifest, plan_for(model, plan))
    assert predicted == list(range(6))
    check(slide, model, manifest, plan)
    assert not list(manifest.parent.glob("*.partial"))


@pytest.mark.slow
def test_other_weights_in_the_same_folder_are_loaded(slide, own_model, manifest, save):
    predict_slide(slide, manifest, plan_for(own_model))
    check(slide, own_model, manifest)
    before = verified.open_image_store(manifest)[:]
    save(own_model, seed=1)
    predict_slide(slide, manifest, plan_for(own_model))
    check(slide, own_model, manifest)
    assert (verified.open_image_store(manifest)[:] != before).mean() > 0.1


def test_a_failure_leaves_the_older_prediction(slide, own_model, manifest, monkeypatch, save):
    predict_slide(slide, manifest, plan_for(own_model))
    old, facts = verified.open_image_store(manifest)[:], manifests.read_manifest(manifest)
    monkeypatch.setattr(predict_slide_module, "predict_block", lambda task, index: 1 / (3 - index))
    with pytest.raises(ZeroDivisionError):
        predict_slide(slide, manifest, plan_for(save(own_model, seed=1)))
    assert manifests.read_manifest(manifest) == facts
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], old)


# What is told


def test_a_manifest_tells_what_a_prediction_depends_on(slide, model, manifest):
    predict_slide(slide, manifest, plan_for(model))
    told, facts = manifests.read_manifest(manifest), manifests.read_manifest(model / "model.json")
    assert told["fingerprint"] == plan_for(model).fingerprint(slide)
    assert told["seconds"] > 0 and told["pixels_per_second"] > 0
    assert set(told["versions"]) == {"slideunet", "openvino"}
    ignored = ("seconds", "pixels_per_second", "versions", "blocks", "maps", "fingerprint")
    assert {name: fact for name, fact in told.items() if name not in ignored} == {
        "slide": "S1", "shape": [1, *SHAPE], "model_sha256": facts["sha256"], "engine": "openvino",
        "precision": "fp32", "halo": 24, "tissue": None, "mpp": 0.5, "scale": 1.0,
        "cell_size": {"scale": 1.0, "diameter": None},
    }  # fmt: skip
    assert ome_zarr_models.v05.image.Image.from_zarr(
        zarr.open_group(manifests.store_path(manifest), mode="r")
    )


def test_speed_and_time_left_are_told(slide, model, manifest, caplog):
    caplog.set_level("INFO")
    predict_slide(slide, manifest, plan_for(model))
    assert any(message.startswith("S1: 0.56 Mpx in ") for message in caplog.messages)
    assert any("px/s" in message and message.startswith("S1: ") for message in caplog.messages)


# Bare glass


@pytest.mark.slow
def test_bare_glass_is_zero_and_costs_nothing(
    small_blocks, add_slide, tmp_path, save, manifest, monkeypatch, predicted
):
    monkeypatch.setattr(tissue, "WHOLE_SLIDE", 256)
    pixels = np.random.default_rng(0).normal(243, 0.4, (3, *SHAPE)).round().astype(np.uint8)
    pink = np.array([[[70]], [[0]], [[40]]], np.uint8)
    pixels[:, 100:300, 100:260] = draw((200, 160), channels=3) // 2 + pink
    slide = add_slide(pixels, mpp=4.0)
    model = save(tmp_path / "stained", channels=3, background="bright")
    plan = replace(PLAN, tissue="auto")
    killed_after(2, monkeypatch, slide, manifest, plan_for(model, plan))
    predict_slide(slide, manifest, plan_for(model, plan))
    mask = verified.open_label_store(manifest, "tissue")
    told = manifests.read_manifest(manifest)["tissue"]
    wanted = tissue.upsampled(mask[:] > 0, told["level"], *(slice(0, side) for side in SHAPE))
    assert wanted[100:300, 100:260].all()
    assert told["skipped"] == pytest.approx(1 - wanted.mean(), abs=1e-6)
    expected = np.where(wanted, in_one_piece(slide, model)[:1], 0)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], expected)
    bare = [index for index, region in enumerate(BlockGrid(SHAPE)) if not wanted[region].any()]
    assert len(bare) >= 3
    other = replace(plan, tile=64)
    predict_slide(slide, manifest.with_name("again.json"), plan_for(model, other), part=(1, 3))
    predict_slide(slide, manifest.with_name("again.json"), plan_for(model, other))
    again = manifests.read_manifest(manifest.with_name("again.json"))
    assert again["blocks"] == manifests.read_manifest(manifest)["blocks"]


# Damage


def level_file(slide, row, column):
    return manifests.store_path(slide) / "0" / "c" / "0" / str(row) / str(column)


def swap(one, other):
    third = one.with_name("third")
    one.rename(third)
    other.rename(one)
    third.rename(other)


DAMAGE = {
    "swapped": (
        lambda slide: swap(level_file(slide, 0, 0), level_file(slide, 0, 1)),
        "block 0 .* not what was",
    ),
    "gone": (
        lambda slide: level_file(slide, 1, 1).unlink(),
        "1 of 6 chunks are missing, the first is c/0/1/1",
    ),
    "cut off": (lambda slide: level_file(slide, 1, 0).write_bytes(b"1234"), "cannot be read at "),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_slide_is_never_predicted(slide, model, manifest, damage):
    do, message = DAMAGE[damage]
    do(slide)
    with pytest.raises(DamagedDataError, match=rf"slides/S1\.zarr/0:? {message}"):
        predict_slide(slide, manifest, plan_for(model))
    assert not manifest.exists()


def test_a_prediction_in_the_wrong_place_is_noticed_by_who_reads_it(slide, model, manifest):
    predict_slide(slide, manifest, plan_for(model))
    swap(level_file(manifest, 0, 0), level_file(manifest, 1, 0))
    with pytest.raises(DamagedDataError, match=r"predictions/S1\.zarr/0: block 0 "):
        verified.open_image_store(manifest)[0, :600]


# Workers of a cluster


@pytest.fixture(scope="module")
def client():
    with open_client(ClusterSpec(), workers=2, threads_per_worker=1, memory_mb=3000) as client:
        yield client


@pytest.fixture
def wide(add_slide):
    """4 blocks of the true size, which is that of the workers."""
    return add_slide(draw((70, 12400)))


@pytest.mark.slow
def test_workers_measure_the_cells_too(wide, model, manifest, client):
    plan = plan_for(model, replace(PLAN, sizing=Sizing((10, 50), 90.0, Decoding(0.5, "centres"))))
    predict_slide(wide, manifest, plan, client=client)
    expected = in_one_piece(wide, model, predict=functools.partial(predict_at, scale=2.0))
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], expected[:1])


@pytest.mark.slow
@pytest.mark.parametrize("tile", [64, 1024])
def test_workers_do_not_change_a_byte(wide, model, manifest, client, tile):
    predict_slide(wide, manifest, plan_for(model, replace(PLAN, tile=tile)), client=client)
    assert len(manifests.read_manifest(manifest)["blocks"]) == 4
    check(wide, model, manifest)


@pytest.mark.slow
def test_parts_kills_and_workers_do_not_change_a_byte(wide, model, manifest, client, monkeypatch, caplog):
    caplog.set_level("INFO")
    predict_slide(wide, manifest, plan_for(model), client=client, part=(1, 2))
    killed_after(3, monkeypatch, wide, manifest, plan_for(model), client=client)
    predict_slide(wide, manifest, plan_for(model, replace(PLAN, tile=128)), client=client, threads=2)
    assert "S1: resuming, 3 of 4 blocks are done" in caplog.messages
    check(wide, model, manifest)


@pytest.mark.slow
def test_workers_that_run_on_load_other_weights_from_the_same_folder(wide, own_model, manifest, client, save):
    predict_slide(wide, manifest, plan_for(own_model), client=client)
    save(own_model, seed=1)
    predict_slide(wide, manifest, plan_for(own_model), client=client)
    check(wide, own_model, manifest)


@pytest.mark.slow
def test_relative_paths_are_those_of_the_job(wide, own_model, manifest, client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    slide, folder, target = (path.relative_to(tmp_path) for path in (wide, own_model, manifest))
    predict_slide(slide, target, plan_for(folder), client=client)
    check(wide, own_model, manifest)


def test_damage_that_a_worker_meets_is_told(wide, model, manifest, client):
    swap(level_file(wide, 0, 0), level_file(wide, 0, 1))
    with pytest.raises(DamagedDataError, match=r"slides/S1\.zarr/0: block [01] "):
        predict_slide(wide, manifest, plan_for(model), client=client)
    assert not manifest.exists()


@pytest.mark.slow
def test_a_task_is_small_whatever_the_slide(tmp_path):
    facts = {"sha256": "0" * 64, "architecture": UNetSpec(3, 16, 4).as_dict(), "halo": 96}
    plan = PredictionPlan(tmp_path, facts, "openvino", "fp32")
    task = PredictionTask(plan, tmp_path, Normalisation((0.0,) * 3, (1.0,) * 3), tmp_path)
    assert len(pickle.dumps((predict_slide_module.predict_block, task, 3))) < 2000
