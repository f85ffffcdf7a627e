import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.images import normalisation as module
from slideunet.images.normalisation import normalisation, survey

PERCENT = [1.0, 50.0, 99.8]


def percentiles(channel):
    return [channel[name] for name in ("low", "median", "high")]


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["uint8", "uint16"]), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_percentiles_of_integers_are_exact(height, width, dtype, seed):
    top = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max)
    pixels = np.random.default_rng(seed).integers(0, top, (2, height, width), dtype=dtype)
    statistics, _ = survey(pixels)
    for channel, plane in zip(statistics, pixels, strict=True):
        assert percentiles(channel) == np.percentile(plane, PERCENT, method="inverted_cdf").tolist()
        assert [channel["min"], channel["max"]] == [plane.min(), plane.max()]
        assert [channel["mean"], channel["std"]] == pytest.approx([plane.mean(), plane.std()], abs=1e-3)


def test_percentiles_of_small_float_slides_are_numpys():
    pixels = np.random.default_rng(0).normal(3, 2, (2, 61, 47)).astype(np.float32)
    for channel, plane in zip(survey(pixels)[0], pixels, strict=True):
        assert percentiles(channel) == pytest.approx(np.percentile(plane, PERCENT), rel=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_blocks_do_not_change_the_statistics(dtype, monkeypatch):
    pixels = np.random.default_rng(1).uniform(0, 250, (3, 45, 31)).astype(dtype)
    whole, _ = survey(pixels)
    monkeypatch.setattr(module, "_BLOCK", 7)
    for one, other in zip(survey(pixels)[0], whole, strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def test_large_float_slides_are_sampled_evenly(monkeypatch):
    monkeypatch.setattr(module, "_SAMPLES_PER_BLOCK", 32)
    pixels = np.random.default_rng(2).normal(0, 1, (1, 300, 300)).astype(np.float32)
    assert percentiles(survey(pixels)[0][0])[:2] == pytest.approx(np.percentile(pixels, PERCENT[:2]), abs=0.4)


def test_the_digest_is_of_the_pixels_and_not_of_their_chunks():
    pixels = np.arange(2 * 30 * 40, dtype=np.uint16).reshape(2, 30, 40)
    _, digest = survey(pixels)
    for chunks in ((1, 7, 11), (2, 30, 40)):
        assert survey(zarr.array(pixels, chunks=chunks))[1] == digest
    assert survey(np.asfortranarray(pixels))[1] == digest
    others = [
        pixels.reshape(2, 40, 30),
        pixels.reshape(4, 15, 40),
        pixels.view(np.int16),
        pixels + np.uint16(1),
    ]
    assert len({digest, *(survey(other)[1] for other in others)}) == 5


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
