import copy
import functools
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.errors import MachineError
from slideunet.geometry.tiles import Tile
from slideunet.network.architecture.model_folder import load_model
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import border_margin
from slideunet.network.inference.cost import array_bytes, least_core
from slideunet.network.inference.engines import build_engine
from slideunet.network.inference.openvino_engine import OpenVINOEngine
from slideunet.network.inference.predict_region import predict_core
from slideunet.network.inference.torch_engine import TorchEngine, torch
from slideunet.slides.normalisation import Normalisation

pytestmark = pytest.mark.usefixtures("one_thread")

CONSTANTS = Normalisation((100.0,), (60.0,))
MODEL = Path(__file__).parents[3] / "resources/models/nuclei-fluorescence"


def draw(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (1, *shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def engine_of(random_network):
    """Build every engine once; half of the probabilities are neither 0 nor 1."""

    @functools.lru_cache
    def build(name, depth=2, precision="fp32"):
        network = random_network(width=8, depth=depth, heads=["centres", "distance"])
        network.head.weight.data /= 20
        if name == "torch":
            return TorchEngine(network, precision, torch.device("cpu"), halo(network.spec))
        if name == "logits":
            return TorchEngine(network, precision, torch.device("cpu"), halo(network.spec), logits=True)
        return OpenVINOEngine(network, precision, 1, halo(network.spec))

    return build


def everything(pixels):
    return tuple((0, side) for side in pixels.shape[1:])


def in_one_piece(engine, pixels):
    """One tile with the whole slide, mirrored by NumPy."""
    least, margin = least_core(engine.spec), border_margin(engine.spec)
    goal = [max(side + -side % engine.spec.multiple, least) for side in pixels.shape[1:]]
    ends = [(margin, more - side + margin) for more, side in zip(goal, pixels.shape[1:], strict=True)]
    block = np.pad(pixels, [(0, 0), *ends], mode="reflect")
    rows, columns = ((margin, margin + more) for more in goal)
    height, width = pixels.shape[1:]
    return next(engine.predict([Tile(block, (rows, columns))], CONSTANTS))[:, :height, :width]


@st.composite
def cuts(draw_from):
    """A slide's sides, a part of it, and the side of the tiles."""
    lengths = st.one_of(st.integers(1, 9), st.integers(10, 150), st.integers(150, 700))
    sides = [draw_from(lengths) for _ in range(2)]
    part = []
    for side in sides:
        start = draw_from(st.integers(0, side - 1))
        part.append((start, draw_from(st.integers(start + 1, side))))
    return sides, tuple(part), draw_from(st.integers(1, 400))


@pytest.mark.slow
@given(cuts(), st.integers(0, 5))
@settings(max_examples=40)
@pytest.mark.parametrize(("name", "depth", "precision"), [
    ("torch", 2, "fp32"), ("torch", 2, "bf16"), ("logits", 2, "fp32"), ("logits", 2, "bf16"),
    ("openvino", 2, "fp32"), ("openvino", 2, "bf16"), ("openvino", 4, "fp32"),
])  # fmt: skip
def test_no_part_and_no_tile_changes_a_byte(engine_of, name, depth, precision, cut, seed):
    engine = engine_of(name, depth, precision)
    sides, part, tile = cut
    pixels = draw(sides, seed)
    expected = in_one_piece(engine, pixels)[(slice(None), *(slice(*span) for span in part))]
    found = predict_core(engine, pixels, CONSTANTS, part, tile=tile)
    assert (len(found), found.dtype) == (5, np.float32 if name == "logits" else np.uint8)
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def shipped_engine():
    """Build the shipped network; half of its probabilities on noise are neither 0 nor 1."""

    @functools.lru_cache
    def build(name, precision):
        network = load_model(MODEL)[0].with_heads(["distance"])
        network.head.weight.data /= 20
        network.head.bias.data.zero_()
        return build_engine(network, name, precision, 1, halo(network.spec))

    return build


@pytest.mark.slow
@given(st.data())
@settings(max_examples=4)
@pytest.mark.parametrize(("name", "precision"), [
    ("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"),
])  # fmt: skip
def test_so_it_is_with_the_model_that_ships(shipped_engine, name, precision, data):
    """Its halo of 208 px is wider than the smallest images, and its convolutions pad unlike at both ends."""
    engine = shipped_engine(name, precision)
    sides = st.one_of(st.integers(1, 300), st.integers(300, 1100))
    pixels, tile = draw([data.draw(sides) for _ in range(2)]), data.draw(st.sampled_from([256, 512, 1024]))
    whole = in_one_piece(engine, pixels)
    found = predict_core(engine, pixels, CONSTANTS, everything(pixels), tile=tile)
    np.testing.assert_array_equal(found, whole)
    (y0, y1), (x0, x1) = (
        sorted(data.draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
        for side in pixels.shape[1:]
    )
    found = predict_core(engine, pixels, CONSTANTS, ((y0, y1), (x0, x1)), tile=tile)
    np.testing.assert_array_equal(found, whole[:, y0:y1, x0:x1])


@pytest.mark.parametrize("depth", [2, 3])
def test_the_whole_slide_is_the_network_on_the_mirrored_slide(random_network, depth):
    """The plain network, its zero padding at the end of the margin, in double precision."""
    network = random_network(channels=1, width=4, depth=depth)
    network.head.weight.data /= 20
    pixels = draw((271, 300))
    margin, unit = border_margin(network.spec), network.spec.multiple
    ends = [(margin, margin + -side % unit) for side in pixels.shape[1:]]
    block = np.pad(pixels, [(0, 0), *ends], mode="reflect")
    with torch.inference_mode():
        batch = torch.from_numpy(CONSTANTS.apply(block))[None].double()
        logits = copy.deepcopy(network).double()(batch)[0, 0, margin : margin + 271, margin : margin + 300]
    for name in ("torch", "openvino"):
        engine = build_engine(network, name, "fp32", 1, halo(network.spec))
        found = predict_core(engine, pixels, CONSTANTS, everything(pixels))[0]
        assert np.abs(found - 255 * torch.sigmoid(logits).numpy()).max() < 0.51


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_the_picture_that_is_compared_is_not_empty(engine_of, name):
    found = predict_core(engine_of(name), draw((90, 90)), CONSTANTS, ((0, 90), (0, 90)))
    assert ((found > 0) & (found < 255)).mean() > 0.2


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_what_is_not_wanted_is_zero_and_the_rest_is_as_ever(engine_of, seed):
    engine, rng = engine_of("openvino"), np.random.default_rng(seed)
    pixels, part = draw((70, 90)), ((3, 65), (10, 90))
    wanted = np.kron(rng.random((4, 5)) < 0.4, np.ones((16, 16), bool))[:62, :80]
    expected = predict_core(engine, pixels, CONSTANTS, part)
    found = predict_core(engine, pixels, CONSTANTS, part, tile=16, wanted=wanted)
    np.testing.assert_array_equal(found, np.where(wanted, expected, 0))


class Counter:
    """A slide that counts how it is read."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.dtype, self.reads = pixels, pixels.shape, pixels.dtype, []

    def __getitem__(self, index):
        self.reads.append(self.pixels[index].shape[1:])
        return self.pixels[index]


class Slow:
    """An engine of the depth 2 that notes its tiles, and may have little memory."""

    def __init__(self, engine, most=10**9):
        self.engine, self.spec, self.halo, self.tile_limit = engine, engine.spec, engine.halo, None
        self.precision, self.dtype, self.memory = engine.precision, engine.dtype, engine.memory
        self.margin, self.step = engine.margin, engine.step
        self.most, self.tiles, self.failures = most, [], 0

    def predict(self, tiles, constants):
        return self.engine.predict(map(self.note, tiles), constants)

    def note(self, tile):
        core = tuple(stop - start for start, stop in tile.core)
        if core[0] * core[1] > self.most:
            self.failures += 1
            raise MemoryError("4 GB asked for")
        self.tiles.append(core)
        return tile


@pytest.mark.parametrize(("part", "read"), [
    (((101, 240), (0, 131)), (140 + 2 * 24, 132 + 24)),
    (((101, 109), (299, 300)), (128 + 2 * 24, 128 + 24)),  # Widened to the shortest core, inside the slide.
    (((0, 400), (0, 300)), (400, 300)),
])  # fmt: skip
def test_a_part_is_read_once_and_no_farther_than_its_context(engine_of, part, read):
    engine = engine_of("openvino")
    slide = Counter(draw((400, 300)))
    predict_core(engine, slide, CONSTANTS, part, tile=32)
    assert slide.reads == [read]


@pytest.mark.parametrize(("side", "computed"), [(128, 128 + 16), (201, 204 + 16), (40, 128 + 16)])
def test_a_small_image_is_computed_with_little_around_it(engine_of, side, computed):
    engine, seen = engine_of("openvino"), []
    slow = Slow(engine)
    slow.note = lambda tile: seen.append(tile.pixels.shape) or tile
    predict_core(slow, draw((side, side)), CONSTANTS, ((0, side), (0, side)))
    assert seen == [(1, computed, computed)]


def test_only_tiles_with_a_wanted_pixel_are_computed(engine_of):
    engine, slide = Slow(engine_of("openvino")), Counter(draw((280, 420)))
    wanted = np.zeros((280, 420), bool)
    predict_core(engine, slide, CONSTANTS, everything(slide), tile=140, wanted=wanted)
    assert (engine.tiles, slide.reads) == ([], [])
    wanted[139, 419] = wanted[141, 0] = True
    predict_core(engine, slide, CONSTANTS, everything(slide), tile=140, wanted=wanted)
    assert engine.tiles == [(140, 140)] * 2


def test_of_a_tile_only_the_rectangle_with_wanted_pixels_is_computed(engine_of):
    pixels = draw((600, 700))
    wanted = np.zeros((600, 700), bool)
    wanted[300:520, 250:260] = True
    engine = Slow(engine_of("openvino"))
    found = predict_core(engine, pixels, CONSTANTS, everything(pixels), tile=1024, wanted=wanted)
    assert engine.tiles == [(600 - 256, 512)]
    exact = predict_core(engine, pixels, CONSTANTS, everything(pixels))
    np.testing.assert_array_equal(found, np.where(wanted, exact, 0))


@pytest.mark.parametrize(
    ("shape", "tile", "tiles"),
    [
        ((300, 390), 288, {(152, 196), (152, 196), (148, 196), (148, 196)}),
        ((8, 300), 300, {(128, 300)}),  # 128 px is the shortest core.
        ((129, 129), 1, {(128, 128)}),
    ],
)
def test_tiles_are_few_and_even(engine_of, shape, tile, tiles):
    engine, pixels = Slow(engine_of("openvino")), draw(shape)
    predict_core(engine, pixels, CONSTANTS, everything(pixels), tile=tile)
    assert set(engine.tiles) == tiles
    assert len(engine.tiles) == np.prod([-(-side // max(tile + -tile % 4, 128)) for side in shape])


def test_smaller_tiles_are_used_from_then_on_when_one_does_not_fit(engine_of, caplog):
    caplog.set_level(logging.WARNING)
    pixels = draw((520, 700))
    expected = predict_core(engine_of("openvino"), pixels, CONSTANTS, everything(pixels))
    engine = Slow(engine_of("openvino"), most=150 * 150)
    for _ in range(2):
        found = predict_core(engine, pixels, CONSTANTS, everything(pixels), tile=600)
        np.testing.assert_array_equal(found, expected)
    assert (engine.tile_limit, engine.failures) == (148, 2)
    assert [record.message for record in caplog.records] == [
        "Tiles of 600 px do not fit into memory (4 GB asked for); continuing with 300 px.",
        "Tiles of 300 px do not fit into memory (4 GB asked for); continuing with 148 px.",
    ]


def test_a_machine_without_memory_for_one_tile_is_named(engine_of):
    pixels = draw((100, 130))
    with pytest.raises(MachineError, match="Not even a tile of 132 px fits into memory"):
        predict_core(Slow(engine_of("openvino"), most=0), pixels, CONSTANTS, everything(pixels))


def test_other_failures_are_not_taken_for_a_lack_of_memory(engine_of, monkeypatch):
    engine = Slow(engine_of("openvino"))
    monkeypatch.setattr(engine, "predict", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict_core(engine, draw((8, 8)), CONSTANTS, ((0, 8), (0, 8)))


@pytest.mark.parametrize(("spare", "wanted", "count"), [(0, None, 1), (-1, None, 4), (0, "some", 4)])
def test_what_fits_into_memory_is_one_tile(engine_of, monkeypatch, spare, wanted, count):
    """Without tissue to leave out; two tiles of 256 px on either side otherwise."""
    engine, pixels, cores = engine_of("openvino"), draw((300, 412)), []
    margin, predict = border_margin(engine.spec), engine.predict
    needed = array_bytes(engine.spec, (300 + 2 * margin, 412 + 2 * margin), engine.precision)
    monkeypatch.setattr(engine, "memory", needed + spare)
    monkeypatch.setattr(
        engine, "predict", lambda tiles, constants: predict(map(note, tiles), constants), raising=False
    )

    def note(tile):
        cores.append(tile.core)
        return tile

    mask = None if wanted is None else np.ones((300, 412), bool)
    if mask is not None:
        mask[0, 0] = False
    predict_core(engine, pixels, CONSTANTS, everything(pixels), wanted=mask)
    assert len(cores) == count
