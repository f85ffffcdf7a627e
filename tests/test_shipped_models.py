"""The models under resources/models do what their cards say, on fields that are drawn here."""

import json
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from scipy import ndimage as ndi

from slideunet.cells.separation.decoding import decoding_for
from slideunet.cells.separation.separate import separate
from slideunet.model_json import int8_ranges
from slideunet.network.architecture.model_folder import load_model
from slideunet.network.inference.openvino_engine import OpenVINOEngine
from slideunet.network.inference.scaling.cell_size import choose_scale
from slideunet.network.inference.scaling.rescaled import predict_whole
from slideunet.network.inference.scaling.sizing import sizing_for
from slideunet.slides.normalisation import normalisation
from slideunet.slides.statistics import survey

MODELS = Path(__file__).resolve().parents[1] / "resources" / "models"
NAMES = ("nuclei-brightfield", "nuclei-fluorescence", "nuclei-fluorescence-fast")
SIDE = 384


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    network, facts = load_model(MODELS / request.param)
    return request.param, facts, OpenVINOEngine(network, "fp32", 1, facts["halo"])


def find_cells(model, pixels):
    _, facts, engine = model
    pixels = np.broadcast_to(pixels, (engine.spec.channels, *pixels.shape[-2:])).copy()
    constants = normalisation(survey(pixels)[0], facts["normalisation"], facts["background"])
    sizing = sizing_for(facts, "auto", "auto")
    scale = choose_scale(engine, pixels, constants, pixels, sizing)["scale"]
    return separate(predict_whole(engine, pixels, constants, scale), decoding_for(facts))


def empty_fields():
    rng = np.random.default_rng(0)
    rows, columns = np.indices((SIDE, SIDE))
    shade = 1 - ((rows - SIDE / 2) ** 2 + (columns - SIDE / 2) ** 2) / SIDE**2
    noise = rng.standard_normal((SIDE, SIDE))
    return {
        "one value": np.full((SIDE, SIDE), 77, np.uint8),
        "camera noise": (400 + 12 * noise).astype(np.uint16),
        "few photons": rng.poisson(4, (SIDE, SIDE)).astype(np.uint8),
        "vignette": (900 * shade + 8 * noise).astype(np.uint16),
        "ramp": (200 + 0.3 * columns + 5 * noise).astype(np.uint16),
        "filtered noise": soft_noise(1.0),
    }


def soft_noise(sigma):
    noise = ndi.gaussian_filter(np.random.default_rng(1).standard_normal((SIDE, SIDE)), sigma)
    return (1000 + 50 * noise / noise.std()).astype(np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize("kind", empty_fields())
def test_an_empty_field_has_no_cell(model, kind):
    assert find_cells(model, empty_fields()[kind]).max() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "most"), [(1.5, 4), (2.0, 4), (3.0, 8), (5.0, 8)])
def test_noise_as_wide_as_nuclei_gives_hardly_any(model, sigma, most):
    """Blobs of some 4 to 13 px: of the narrowest the first weights that shipped made 272 and 5 cells."""
    found = find_cells(model, soft_noise(sigma)).max()
    assert found <= (0 if model[0].startswith("nuclei-fluorescence") else most)


def test_bare_glass_has_no_cell(model):
    """JPEG leaves it one or two grey levels. Stretched as tissue is, it had 458 cells."""
    if model[0] != "nuclei-brightfield":
        pytest.skip("no light passes through fluorescent slides")
    noise = np.random.default_rng(3).normal(0, 1, (SIDE, SIDE, 3))
    glass = imagecodecs.jpeg_decode(imagecodecs.jpeg_encode((245 + noise).astype(np.uint8), level=75))
    assert glass.std() > 0
    assert find_cells(model, glass.transpose(2, 0, 1)).max() == 0


def test_bright_pixels_are_no_nuclei_in_fluorescence(model):
    if not model[0].startswith("nuclei-fluorescence"):
        pytest.skip("in images of 8-bit colour a pixel cannot be so bright")
    field = empty_fields()["camera noise"]
    places = np.random.default_rng(2).integers(0, field.size, 30)
    field.ravel()[places] = 4000
    assert find_cells(model, field).max() == 0


def soft_discs(radius, *, edge=0.8, least=1.0, noise=3.0):
    """Draw centres and a field of light discs, apart from each other, 150 or a drawn share of it bright."""
    rng = np.random.default_rng(radius)
    step = 4 * radius
    centres = [(y, x) for y in range(step, SIDE - step, step) for x in range(step, SIDE - step, step)]
    rows, columns = np.indices((SIDE, SIDE))
    light = np.zeros((SIDE, SIDE))
    for (y, x), share in zip(centres, rng.uniform(least, 1, len(centres)), strict=True):
        away = np.hypot(rows - y, columns - x) - radius
        light = np.maximum(light, share / (1 + np.exp(away / edge)))
    return centres, 25 + 150 * light + rng.normal(0, noise, (SIDE, SIDE))


def missed(cells, centres):
    return [cells[y, x] > 0 for y, x in centres].count(False)


@pytest.mark.slow
@pytest.mark.parametrize("radius", [6, 10, 18, 36])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_round_nuclei_are_found_one_by_one(model, radius, dtype):
    """What any model of nuclei must do."""
    centres, field = soft_discs(radius)
    if model[0] == "nuclei-brightfield":
        field = 230 - 0.6 * field
    scale = 1 if dtype == np.uint8 else 40
    cells = find_cells(model, (field * scale).astype(dtype))
    assert missed(cells, centres) <= 0.05 * len(centres)
    assert abs(int(cells.max()) - len(centres)) <= 0.1 * len(centres)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_in_int8_the_same_nuclei_are_found(name):
    """Fails for weights that were not calibrated: make calibrate."""
    network, facts = load_model(MODELS / name)
    engines = [
        OpenVINOEngine(
            network, precision, 1, facts["halo"], int8_ranges(facts) if precision == "int8" else None
        )
        for precision in ("fp32", "int8")
    ]
    _, field = soft_discs(10)
    field = (230 - 0.6 * field if name == "nuclei-brightfield" else field).astype(np.uint8)
    exact, rounded = (find_cells((name, facts, engine), field) for engine in engines)
    assert exact.max() > 50
    assert abs(int(exact.max()) - int(rounded.max())) <= 0.02 * exact.max()
    assert 2 * np.sum((exact > 0) & (rounded > 0)) > 0.97 * (np.sum(exact > 0) + np.sum(rounded > 0))


@pytest.mark.parametrize("radius", [6, 10, 18])
def test_nuclei_are_found_beside_debris_ten_times_as_bright(model, radius):
    """Of the smallest the weights that shipped until 2026-11-27 missed more than half."""
    if not model[0].startswith("nuclei-fluorescence"):
        pytest.skip("nothing is so much darker than the nuclei of tissue")
    if model[0] == "nuclei-fluorescence-fast" and radius == 6:
        pytest.skip("its card names this limit")
    centres, field = soft_discs(radius, edge=2, least=0.5, noise=10)
    debris = np.hypot(*np.indices(field.shape)) < 0.1 * SIDE
    cells = find_cells(model, (20 * np.where(debris, 1500, field.clip(0))).astype(np.uint16))
    assert missed(cells, centres) <= 0.05 * len(centres)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_has_its_card(name):
    files = {path.name: path for path in (MODELS / name).iterdir()}
    assert set(files) == {"model.safetensors", "model.json", "MODEL_CARD.md"}
    assert files["model.safetensors"].stat().st_size < 16e6
    facts = json.loads(files["model.json"].read_text())
    card = files["MODEL_CARD.md"].read_text()
    assert facts["sha256"] in card
    assert f"{facts['diameter']['p05']:.0f} to {facts['diameter']['p95']:.0f} px" in card
