"""The cells of a slide are measured to choose the scale at which the network sees it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops

from slideunet.cells.separation.decoding import decoding_for
from slideunet.errors import InputError
from slideunet.model_json import read_model_facts
from slideunet.network.inference.engines import open_engine
from slideunet.network.inference.scaling.cell_size import (
    choose_scale,
    diameter_of,
    sample_windows,
    typical,
)
from slideunet.network.inference.scaling.sizing import (
    LARGEST,
    SMALLEST,
    Sizing,
    given_scale,
    scale_for,
    sizing_for,
)
from slideunet.slides.normalisation import normalisation
from slideunet.slides.statistics import survey

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL = Path(__file__).parents[3] / "resources/models/nuclei-fluorescence"
BEST = (12.0, 50.0)


@pytest.fixture(scope="module")
def bundled():
    """A bundled model, ready to predict."""
    facts = read_model_facts(MODEL)
    heads = facts["architecture"]["heads"]
    return open_engine(MODEL, facts, engine="openvino", heads=heads, precision="fp32", threads=1)


def discs(diameter, shape, seed=0):
    """Bright discs of about one diameter on a noisy ground (1, y, x)."""
    rng, ground = np.random.default_rng(seed), np.zeros(shape)
    pitch = 2.2 * diameter
    for y in np.arange(pitch / 2, shape[0] - diameter / 2, pitch):
        for x in np.arange(pitch / 2, shape[1] - diameter / 2, pitch):
            radius = diameter / 2 * rng.uniform(0.9, 1.1)
            rows, columns = (slice(max(int(c - diameter), 0), int(c + diameter) + 1) for c in (y, x))
            yy, xx = np.mgrid[rows, columns]
            inside = np.hypot(yy - y, xx - x) < radius
            part = ground[rows, columns]
            part[inside[: part.shape[0], : part.shape[1]]] = rng.uniform(0.7, 1)
    blurred = ndimage.gaussian_filter(ground, 1)
    return np.clip(20 + 180 * blurred + rng.normal(0, 4, shape), 0, 255).astype(np.uint8)[None]


def chosen(engine, pixels, coarse=None):
    constants = normalisation(survey(pixels)[0], "percentile", "dark")
    sizing = Sizing(BEST, None, decoding_for(read_model_facts(MODEL)))
    return choose_scale(engine, pixels, constants, pixels if coarse is None else coarse, sizing)


@pytest.mark.parametrize(
    ("diameter", "scale"), [(6, 0.5), (8, 0.5), (20, 1), (40, 1), (70, 2), (90, 2), (150, 4)]
)
def test_drawn_nuclei_are_measured_and_scaled_into_the_best_range(bundled, diameter, scale):
    side = max(12 * diameter, 300)
    found = chosen(bundled, discs(diameter, (side // 2, side)))
    assert found["scale"] == scale
    assert found["diameter"] == pytest.approx(diameter, rel=0.15, abs=1)


def test_windows_of_a_large_slide_are_chosen_on_an_overview_that_is_read_once(bundled):
    class Overview:
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            return pixels[:, ::8, ::8][index]

    pixels, overview = discs(90, (2050, 2100)), Overview()
    assert chosen(bundled, pixels, coarse=overview)["scale"] == 2
    assert overview.reads == 1


def test_a_slide_without_cells_is_seen_as_it_is(bundled):
    noise = np.random.default_rng(0).normal(100, 8, (1, 500, 500)).clip(0, 255).astype(np.uint8)
    assert chosen(bundled, noise) == {"scale": 1.0, "diameter": None}
    assert chosen(bundled, np.zeros((1, 30, 40), np.uint8)) == {"scale": 1.0, "diameter": None}


def test_a_given_diameter_is_not_measured():
    sizing = Sizing(BEST, 120.0, None)
    assert given_scale(sizing) == {"scale": 4.0, "diameter": 120.0}
    assert given_scale(Sizing(BEST, None, None)) is None


@given(
    diameter=st.floats(0.5, 5000), low=st.floats(5, 30), ratio=st.floats(2, 8), exponent=st.integers(-1, 3)
)
def test_a_scale_is_the_nearest_to_one_that_suits(diameter, low, ratio, exponent):
    best = (low, low * ratio)
    scale = scale_for(diameter, best)
    assert np.log2(scale) == round(np.log2(scale))
    assert SMALLEST <= scale <= LARGEST
    if best[0] <= diameter / scale <= best[1]:
        nearer = 2.0**exponent
        suits = best[0] <= diameter / nearer <= best[1]
        assert not suits or abs(np.log2(nearer)) >= abs(np.log2(scale))
    else:
        assert scale in (SMALLEST, LARGEST)


def test_the_diameter_is_that_of_the_cells_that_lie_wholly_inside():
    labels = ndimage.label(discs(15, (300, 400))[0] > 90)[0].astype(np.uint32)
    cut = labels[9:250, 11:390]
    inside = [
        cell.area
        for cell in regionprops(cut.astype(int))
        if min(cell.bbox[:2]) > 0 and cell.bbox[2] < cut.shape[0] and cell.bbox[3] < cut.shape[1]
    ]
    assert len(inside) > 20
    assert diameter_of([cut]) == typical(np.array(inside))
    assert diameter_of([np.zeros((9, 9), np.uint32)]) is None


def test_debris_is_not_taken_for_the_cells():
    """In images of Coelho et al. it was, and 745 cells were found in the place of 210."""
    nuclei, specks = np.full(40, 7000), np.full(300, 60)
    assert typical(np.concatenate([specks, nuclei])) == typical(nuclei) == pytest.approx(94.4, abs=0.1)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_half_of_the_area_is_in_smaller_cells(areas):
    diameter = typical(np.array(areas))
    below = sum(area for area in areas if 2 * np.sqrt(area / np.pi) < diameter * (1 - 1e-12))
    upto = sum(area for area in areas if 2 * np.sqrt(area / np.pi) <= diameter * (1 + 1e-12))
    assert below <= sum(areas) / 2 <= upto


def test_windows_are_where_something_is():
    pixels = np.full((3, 8000, 10_000), 240, np.uint8)
    pixels[:, 3000:5000, 2000:7000] = np.random.default_rng(0).integers(0, 255, (2000, 5000), np.uint8)
    coarse = pixels[:, ::16, ::16]
    windows = sample_windows(lambda: coarse, (8000, 10_000), 512)
    assert len(windows) == 4
    for (top, bottom), (left, right) in windows:
        assert 3000 - 512 < top < bottom < 5000 + 512
        assert 2000 - 512 < left < right < 7000 + 512
    assert sample_windows(lambda: coarse, (500, 700), 512) == [((0, 500), (0, 700))]
    assert sample_windows(lambda: np.zeros((1, 50, 50)), (5000, 5000), 512)


def test_models_say_which_diameters_suit_them():
    facts = read_model_facts(MODEL)
    tuned = facts | {"diameter": {"p05": 8.0, "p95": 40.0, "best": [12.0, 50.0]}}
    untuned = facts | {"diameter": {"p05": 8.0, "p95": 40.0}}
    assert sizing_for(tuned, None, "auto") is None
    assert sizing_for(tuned, "auto", "auto").best == (12, 50)
    assert sizing_for(untuned, "auto", "auto") is None
    assert (sizing_for(untuned, 90, "auto").best, sizing_for(untuned, 90, "auto").diameter) == ((8, 40), 90)
    with pytest.raises(InputError, match="does not have the cell diameters"):
        sizing_for({name: facts[name] for name in facts if name != "diameter"}, 90, "auto")
