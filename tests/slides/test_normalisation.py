import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideunet.slides.normalisation import LEAST_CONTRAST, normalisation
from slideunet.slides.statistics import survey


def test_each_mode_has_its_formula():
    pixels = np.random.default_rng(3).integers(20, 220, (2, 50, 60)).astype(np.uint8)
    statistics, _ = survey(pixels)
    axes = {"axis": (1, 2), "keepdims": True}
    exact = pixels.astype(np.float64)
    low, high = (np.percentile(exact, p, method="inverted_cdf", **axes) for p in (1, 99.8))
    least, most = exact.min(**axes), exact.max(**axes)
    expected = {
        "percentile": (exact - low) / (high - low),
        "unit": (exact - least) / (most - least),
        "symmetric": 2 * (exact - least) / (most - least) - 1,
        "zscore": (exact - exact.mean(**axes)) / exact.std(**axes),
    }
    inverted = {
        "percentile": 1 - expected["percentile"],
        "unit": 1 - expected["unit"],
        "symmetric": -expected["symmetric"],
        "zscore": -expected["zscore"],
    }
    for mode in expected:
        found = normalisation(statistics, mode, "dark").apply(pixels)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[mode], atol=2e-6)
        np.testing.assert_allclose(
            normalisation(statistics, mode, "bright").apply(pixels), inverted[mode], atol=2e-6
        )


def test_auto_inverts_slides_with_a_bright_background_only():
    rng = np.random.default_rng(4)
    dark = rng.integers(0, 40, (3, 64, 64)).astype(np.uint8)
    dark[:, :20, :20] = 230
    for pixels, same_as in ((dark, "dark"), (255 - dark, "bright")):
        statistics, _ = survey(pixels)
        assert normalisation(statistics, "percentile", "auto") == normalisation(
            statistics, "percentile", same_as
        )
    one, other = (normalisation(survey(p)[0], "unit", "auto").apply(p) for p in (dark, 255 - dark))
    np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("background", ["dark", "bright", "auto"])
@pytest.mark.parametrize(
    ("mode", "ground"), [("percentile", 0), ("unit", 0), ("symmetric", -1), ("zscore", 0)]
)
def test_a_constant_slide_is_all_background(mode, ground, background):
    pixels = np.full((1, 9, 9), 250, np.uint8)
    assert (normalisation(survey(pixels)[0], mode, background).apply(pixels) == ground).all()


@given(
    percent=st.lists(st.integers(1, 95), min_size=3, max_size=3),
    light=st.sampled_from([1.0, 245.0]),
)
def test_glass_is_stretched_no_further_than_pale_tissue(percent, light):
    """Tissue fills the range as any slide does; all channels of glass are stretched less, by one factor."""
    ramp = np.linspace(0, 1, 999).reshape(1, 27, 37)
    statistics, _ = survey((light * (1 - np.reshape(percent, (3, 1, 1)) / 100 * ramp)).astype(np.float32))
    found = normalisation(statistics, "percentile", "bright")
    spans = np.array([channel["high"] - channel["low"] for channel in statistics])
    absorbed = max(spans / [channel["high"] for channel in statistics])
    np.testing.assert_allclose(spans / -np.array(found.scale), min(1, absorbed / LEAST_CONTRAST), rtol=1e-6)
    assert found.offset == tuple(channel["high"] for channel in statistics)


def test_a_grey_slide_of_little_contrast_is_stretched_as_any():
    """Phase contrast and unstained cells absorb next to nothing."""
    pixels = np.linspace(200, 208, 999, dtype=np.float32).reshape(1, 27, 37)
    found = normalisation(survey(pixels)[0], "percentile", "bright").apply(pixels)
    assert np.ptp(found) == pytest.approx(1 / 0.988, rel=1e-3)
