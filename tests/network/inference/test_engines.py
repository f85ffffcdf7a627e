import functools
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.errors import MachineError
from slideunet.geometry.tiles import Tile
from slideunet.model_json import read_model_facts
from slideunet.network.architecture.folded import for_inference
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.inference import engines, openvino_engine
from slideunet.network.inference.engines import (
    build_engine,
    discard_kept_engine,
    engine_of_machine,
    fastest_engine,
    keep_engine,
    open_engine,
)
from slideunet.network.inference.openvino_engine import OpenVINOEngine
from slideunet.network.inference.predict_region import predict_core
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.slides.normalisation import Normalisation

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CONSTANTS = Normalisation((100.0, 90.0), (60.0, -50.0))


def draw(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (2, height, width)).astype(np.uint8)


@pytest.fixture(scope="module")
def built(random_network):
    """Build every engine once."""

    @functools.lru_cache
    def build(name, precision="fp32", threads=1, **architecture):
        network = random_network(**({"channels": 2} | architecture))
        if name == "torch":
            return TorchEngine(network, precision, CPU, halo(network.spec))
        return OpenVINOEngine(network, precision, threads, halo(network.spec))

    return build


def around(block, engine):
    """Return the tile of a core with the halo around it."""
    rows, columns = ((engine.halo, side - engine.halo) for side in block.shape[1:])
    return Tile(block, (rows, columns))


def only(engine, block, constants=CONSTANTS):
    """Predict one tile."""
    (found,) = engine.predict([around(block, engine)], constants)
    return found


def logits_of(module, x, window):
    return module.network(x, module.margin, tuple(window.unbind()))


def logit_engine(network, precision, threads, ranges=None):
    """Let OpenVINO return logits: a difference in the last bit seldom changes a byte."""
    engine = OpenVINOEngine(network, precision, threads, halo(network.spec), ranges)
    engine.dtype = np.dtype(np.float32)
    side = 2 * engine.halo + engine.spec.multiple
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_engine._Bytes, "forward", logits_of)
        assert only(engine, draw(side, side)).dtype == np.float32
    return engine


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize("depth", [2, 4])
def test_the_engines_agree(random_network, to_uint8, decoder, depth):
    network = random_network(seed=4, channels=2, depth=depth, decoder=decoder, heads=["centres", "distance"])
    margin = halo(network.spec)
    block = draw(2 * margin + 64, 2 * margin + 48)
    batch = torch.from_numpy(CONSTANTS.apply(block))[None]
    with torch.inference_mode():
        spread = network(batch, margin).std((0, 2, 3))
        network.head.weight /= spread[:, None, None, None]
        logits = network(batch)[0, :, margin:-margin, margin:-margin].numpy()
    foreground, *others = to_uint8(logits)
    offsets = np.clip(np.rint(8 * logits[3:]), -127, 127) + 128
    expected = np.stack([foreground, *others[:2], *offsets])
    expected[1:, foreground < 26] = 0
    assert expected[0].std() > 20
    for name in ("torch", "openvino"):
        for precision, most, mean in (("fp32", 1, 0.001), ("bf16", 40, 4.0)):
            engine = TorchEngine(network, precision, CPU, margin)
            if name == "openvino":
                engine = OpenVINOEngine(network, precision, 1, margin)
            assert (engine.name, engine.precision, engine.halo) == (name, precision, margin)
            found = only(engine, block)
            assert (found.shape, found.dtype) == ((5, 64, 48), np.uint8)
            difference = np.abs(found.astype(int) - expected)
            # Where the foreground is about as improbable as it may be, one engine gives other maps than 0.
            difference = difference[:, np.abs(foreground.astype(int) - 26) > most]
            difference[3:] //= 4  # An offset grows without bound, a probability does not.
            assert difference.max() <= most
            assert difference.mean() < mean


@pytest.mark.slow
@given(st.data())
@settings(max_examples=40)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "int8-bf16"])
@pytest.mark.parametrize("depth", [2, 4])
def test_openvino_gives_every_bit_again_in_a_part(
    random_network, ranges_for, depth, precision, threads, data
):
    engine, whole, slide = _whole(random_network, ranges_for, depth, precision, threads)
    (y0, y1), (x0, x1) = (
        sorted(data.draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
        for side in whole.shape[1:]
    )
    part = predict_core(engine, slide, CONSTANTS, ((y0, y1), (x0, x1)), tile=data.draw(st.integers(1, 300)))
    np.testing.assert_array_equal(part, whole[:, y0:y1, x0:x1])


@pytest.mark.slow
@given(st.data())
@settings(max_examples=8)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "int8-bf16"])
@pytest.mark.parametrize(
    ("depth", "encoder", "width", "stride"),
    [
        (4, "efficientnet_lite0", 16, 1),
        (3, "resnet18", 16, 1),
        (4, "efficientnet_lite0", 12, 2),
        (3, None, 12, 2),
    ],
)
def test_so_it_does_with_other_architectures(
    random_network, ranges_for, depth, encoder, width, stride, precision, data
):
    engine, whole, slide = _whole(
        random_network, ranges_for, depth, precision, 2, encoder=encoder, width=width, head_stride=stride
    )
    y, x = (data.draw(st.integers(0, side - 1)) for side in whole.shape[1:])
    part = predict_core(engine, slide, CONSTANTS, ((y, y + 1), (x, whole.shape[2])), tile=300)
    np.testing.assert_array_equal(part, whole[:, y : y + 1, x:])


@functools.lru_cache
def _whole(random_network, ranges_for, depth, precision, threads, *, width=16, **more):
    """Return an engine, what one thread gives on a slide in one tile, and the slide."""
    network = random_network(channels=2, width=width, depth=depth, **more)
    ranges = ranges_for(network) if precision.startswith("int8") else None
    engine, one = (logit_engine(network, precision, n, ranges) for n in (threads, 1))
    slide = draw(613, 405)
    return engine, predict_core(one, slide, CONSTANTS, ((0, 613), (0, 405)), tile=1024), slide


def test_openvino_gives_every_bit_again_where_it_would_change_its_kernel(random_network):
    # In a smaller tile, 256 feature maps on 15 x 15 px at the bottom: oneDNN adds them in other groups.
    engine = logit_engine(random_network(channels=2, width=32, depth=4), "fp32", 1)
    slide = draw(500, 300)
    whole = predict_core(engine, slide, CONSTANTS, ((0, 500), (0, 300)))
    small = predict_core(engine, slide, CONSTANTS, ((64, 80), (288, 300)))
    np.testing.assert_array_equal(small, whole[:, 64:80, 288:])


@pytest.mark.parametrize("name", ["torch", "openvino"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64, ">u2"])
def test_pixels_of_any_type_are_normalised_in_float32(built, name, dtype):
    engine = built(name)
    block = draw(80, 96)
    expected = only(engine, CONSTANTS.apply(block), Normalisation((0.0, 0.0), (1.0, 1.0)))
    np.testing.assert_array_equal(only(engine, block.astype(dtype)), expected)


def test_torch_rounds_the_probability_of_its_logits(random_network, to_uint8):
    network = random_network(channels=2, width=16)
    engine = TorchEngine(network, "fp32", CPU, 24)
    block = draw(160, 176)
    with torch.inference_mode():
        logits = for_inference(network)(torch.from_numpy(CONSTANTS.apply(block))[None], 24)[0, 0].numpy()
    np.testing.assert_array_equal(only(engine, block), to_uint8(logits)[None])


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_few_tiles_are_in_hand_and_results_come_in_order(built, name):
    engine, cut = built(name), []

    def tiles():
        for seed in range(9):
            cut.append(seed)
            yield around(draw(64, 72, seed), engine)

    for seed, found in enumerate(engine.predict(tiles(), CONSTANTS)):
        assert len(cut) <= seed + 3
        np.testing.assert_array_equal(found, only(engine, draw(64, 72, seed)))
    assert len(cut) == 9


def test_weights_that_are_rounded_once_give_what_autocast_gives(random_network, to_uint8):
    network = random_network(channels=2, width=16, encoder="efficientnet_lite0", depth=3)
    block, margin = draw(200, 208), halo(network.spec)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        batch = torch.from_numpy(CONSTANTS.apply(block))[None].to(memory_format=torch.channels_last)
        logits = for_inference(network)(batch, margin)[0, 0].float().numpy()
    engine = TorchEngine(network, "bf16", CPU, margin)
    np.testing.assert_array_equal(only(engine, block), to_uint8(logits)[None])


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_threads_share_an_engine(built, name):
    engine = built(name)
    blocks = [draw(64 + 8 * index, 88, index) for index in range(8)]
    expected = [only(engine, block) for block in blocks]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda block: only(engine, block), blocks)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_few_shapes_occur_on_a_gpu(random_network):
    plain, stepped = (TorchEngine(random_network(channels=2), "fp32", CPU, 24) for _ in range(2))
    stepped.step = 256
    shapes, forward = set(), stepped._network.forward
    stepped._network.forward = lambda batch, *rest: shapes.add(batch.shape[2:]) or forward(batch, *rest)
    for height, width in ((768, 512), (700, 300)):
        slide, core = draw(height, width), ((0, height), (0, width))
        expected = predict_core(plain, slide, CONSTANTS, core, tile=256)
        found = predict_core(stepped, slide, CONSTANTS, core, tile=256)
        # Before the end of a slide that it does not divide, the network sees more of the mirrored slide.
        rows, columns = (slice(side if side % 256 == 0 else side - 24) for side in (height, width))
        np.testing.assert_array_equal(found[:, rows, columns], expected[:, rows, columns])
    assert shapes == {(256 + 8 + 24, 256 + 8 + 24), (256 + 2 * 24, 256 + 8 + 24)}


def test_memory_of_the_device_that_is_full_is_a_memory_error(random_network, monkeypatch):
    engine = TorchEngine(random_network(channels=2), "fp32", CPU, 24)

    def fail(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine, "_launch", fail)
    with pytest.raises(MemoryError, match="a tile of 64 x 72 px on cpu"):
        only(engine, draw(64, 72))


@pytest.mark.parametrize(
    ("asked", "gpu", "installed", "chosen"),
    [
        ("auto", False, True, "openvino"),
        ("auto", True, True, "torch"),
        ("auto", False, False, "torch"),
        ("torch", False, True, "torch"),
        ("openvino", True, True, "openvino"),
    ],
)
def test_the_engine_is_chosen_by_the_machine(monkeypatch, caplog, asked, gpu, installed, chosen):
    monkeypatch.setattr(engines, "best_device", lambda: torch.device("cuda" if gpu else "cpu"))
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object() if installed else None)
    assert engine_of_machine(asked) == chosen
    assert ("OpenVINO is not installed" in caplog.text) == (not installed)


def test_an_engine_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"prediction\.engine is openvino"):
        engine_of_machine("openvino")


@pytest.mark.parametrize(("name", "kind"), [("openvino", OpenVINOEngine), ("torch", TorchEngine)])
def test_a_model_folder_is_opened_as_what_was_saved(
    random_network, save_network, tmp_path, monkeypatch, name, kind
):
    monkeypatch.setattr(engines, "best_device", lambda: CPU)
    network = random_network(channels=2)
    facts = read_model_facts(save_network(tmp_path, network))
    engine = open_engine(tmp_path, facts, engine=name, precision="fp32", threads=1)
    # The stored halo is the one that is used.
    assert open_engine(tmp_path, facts | {"halo": 28}, engine=name, precision="fp32", threads=1).halo == 28
    assert isinstance(engine, kind)
    block = draw(64, 72)
    built = build_engine(network, name, "fp32", 1, 24)
    np.testing.assert_array_equal(only(engine, block), only(built, block))
    assert network.encoder.first[1].running_mean is not None  # It was folded in a copy.


def test_the_precision_is_timed_with_the_engine_that_is_used(random_network, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    cost, clock, asked = {"fp32": 1.0, "bf16": 0.5, "int8": 0.45}, [0.0], []

    class Fake:
        def __init__(self, precision):
            self.precision = precision

        def predict(self, tiles, constants):
            for tile in tiles:
                assert (tile.pixels.shape, tile.core) == ((2, 256 + 48, 256 + 48), ((24, 280), (24, 280)))
                clock[0] += cost[self.precision]
                yield tile

    def build(graph, precision, threads, halo, ranges):
        assert (halo, ranges) == (24, {"first": (0.0, 1.0)} if precision == "int8" else None)
        asked.append((graph, precision, threads))
        return Fake(precision)

    monkeypatch.setattr(openvino_engine, "OpenVINOEngine", build)
    monkeypatch.setattr("slideunet.network.inference.precision.time.perf_counter", lambda: clock[0])
    best, seconds = fastest_engine(
        random_network(channels=2), "openvino", 3, 24, ("fp32", "bf16", "int8"), {"first": (0.0, 1.0)}
    )
    assert (best.precision, seconds) == ("bf16", pytest.approx(cost))
    assert asked == [(asked[0][0], precision, 3) for precision in cost]  # one graph for all
    assert (
        "Precision bf16: a tile takes 1000 ms in fp32, 500 ms in bf16, 450 ms in int8 (openvino)"
        in caplog.text
    )


def test_an_engine_that_was_timed_is_opened_once_and_only_as_what_it_is(
    random_network, save_network, tmp_path
):
    network = random_network(channels=2, heads=["distance"])
    facts = read_model_facts(save_network(tmp_path, network))

    def opened(facts=facts, **changes):
        asked = {"engine": "openvino", "heads": (), "precision": "fp32", "threads": 1} | changes
        return open_engine(tmp_path, facts, **asked)

    kept, _ = fastest_engine(network.with_heads(()), "openvino", 1, facts["halo"], ("fp32",))
    keep_engine(kept, facts, heads=(), threads=1)
    other = facts | {"halo": 28}
    others = [opened(heads=["distance"]), opened(threads=2), opened(engine="torch"), opened(other)]
    assert kept not in [*others, opened(precision="bf16")]
    assert opened() is kept
    fresh = opened()
    assert fresh is not kept
    block = draw(64, 72)
    np.testing.assert_array_equal(only(kept, block), only(fresh, block))
    keep_engine(kept, facts, heads=(), threads=1)
    discard_kept_engine()
    assert opened() is not kept


@pytest.mark.parametrize(
    ("engine", "claimed", "calibrated", "expected"),
    [
        ("openvino", "fp32", False, ["fp32"]),
        ("openvino", "fp32", True, ["fp32", "int8"]),
        ("openvino", "bf16", False, ["fp32", "bf16"]),
        ("openvino", "bf16", True, ["fp32", "bf16", "int8", "int8-bf16"]),
        ("torch", None, True, ["fp32", "bf16"]),
    ],
)
def test_precisions_that_the_machine_and_the_model_lack_are_not_timed(
    monkeypatch, engine, claimed, calibrated, expected
):
    monkeypatch.setattr(engines, "claimed_precision", lambda engine: claimed)
    assert list(engines.candidates(engine, calibrated)) == expected


_SIGNALLED = """
import os, signal, sys
import numpy as np
from slideunet.geometry.tiles import Tile
from slideunet.slides.normalisation import Normalisation
from slideunet.network.inference.openvino_engine import OpenVINOEngine
from slideunet.network.architecture.unet import UNet, UNetSpec

engines = [OpenVINOEngine(UNet(UNetSpec(1, 4, 2)), "fp32", 1, 24) for _ in range(2)]
for engine in engines:
    tile = Tile(np.zeros((1, 80, 80), np.uint8), ((24, 56), (24, 56)))
    list(engine.predict([tile], Normalisation((0.0,), (1.0,))))
while engines:
    del engines[0], engine
    engine = None
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.slow
def test_a_signal_is_handled_after_engines_were_used_and_dropped(pytestconfig):
    # OpenVINO sets an alternative stack for signals, and leaves that of a dropped engine behind: a segfault.
    path = os.pathsep.join(str(pytestconfig.rootpath / part) for part in pytestconfig.getini("pythonpath"))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _SIGNALLED],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
