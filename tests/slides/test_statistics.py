import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from making import blocks_of

from slideunet.slides import statistics
from slideunet.slides.statistics import content, pooled, survey, survey_block

PERCENT = [1.0, 50.0, 99.8]


def percentiles(channel):
    return [channel[name] for name in ("low", "median", "high")]


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["uint8", "uint16"]), st.integers(0, 10**6))
@settings(max_examples=100)
def test_percentiles_of_integers_are_exact(height, width, dtype, seed):
    top = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max)
    pixels = np.random.default_rng(seed).integers(0, top, (2, height, width), dtype=dtype)
    for channel, plane in zip(survey(pixels)[0], pixels, strict=True):
        assert percentiles(channel) == np.percentile(plane, PERCENT, method="inverted_cdf").tolist()
        assert [channel["min"], channel["max"]] == [plane.min(), plane.max()]
        assert [channel["mean"], channel["std"]] == pytest.approx([plane.mean(), plane.std()], abs=1e-3)


def test_percentiles_of_small_float_slides_are_numpys():
    pixels = np.random.default_rng(0).normal(3, 2, (2, 61, 47)).astype(np.float32)
    for channel, plane in zip(survey(pixels)[0], pixels, strict=True):
        assert percentiles(channel) == pytest.approx(np.percentile(plane, PERCENT), rel=1e-6)


@given(
    st.tuples(st.integers(1, 45), st.integers(1, 45)),
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.sampled_from([1, 7, 32]),
)
@settings(max_examples=60)
def test_the_size_of_blocks_does_not_change_the_statistics(shape, dtype, side):
    pixels = np.random.default_rng(sum(shape)).uniform(0, 250, (2, *shape)).astype(dtype)
    whole, _ = survey(pixels)
    with blocks_of(side):
        parts, _ = survey(pixels)
    for one, other in zip(parts, whole, strict=True):
        exact = {"rel": 1e-9, "abs": 1e-9} if dtype == "float32" else {"rel": 0, "abs": 0}
        assert one == pytest.approx(other, **exact)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_surveys_are_kept_in_a_journal_and_pooled_to_the_last_bit(dtype):
    rng = np.random.default_rng(5)
    found = [survey_block(rng.uniform(0, 250, (2, *size)).astype(dtype)) for size in ((9, 9), (9, 4), (5, 9))]
    journal = {index: json.dumps(found[index]) for index in (2, 0, 1)}
    kept = [json.loads(journal[index]) for index in sorted(journal)]
    assert pooled(kept) == pooled(found)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_order_of_blocks_does_not_change_the_statistics_of_integers(dtype):
    rng = np.random.default_rng(6)
    found = [survey_block(rng.integers(0, top, (1, 30, 30)).astype(dtype)) for top in (3, 200, 250)]
    assert pooled(found) == pooled(found[::-1]) == pooled([found[1], found[0], found[2]])


def test_large_float_slides_are_sampled_evenly(monkeypatch):
    monkeypatch.setattr(statistics, "_SAMPLES_PER_BLOCK", 32)
    pixels = np.random.default_rng(2).normal(0, 1, (1, 300, 300)).astype(np.float32)
    assert percentiles(survey(pixels)[0][0])[:2] == pytest.approx(np.percentile(pixels, PERCENT[:2]), abs=0.4)


def test_the_digest_is_of_the_pixels_and_not_of_their_chunks():
    pixels = np.arange(2 * 30 * 40, dtype=np.uint16).reshape(2, 30, 40)
    _, digest = survey(pixels)
    for chunks in ((1, 7, 11), (2, 30, 40)):
        assert survey(zarr.array(pixels, chunks=chunks))[1] == digest
    assert survey(np.asfortranarray(pixels))[1] == digest
    others = [pixels.reshape(2, 40, 30), pixels.reshape(4, 15, 40), pixels + np.uint16(1)]
    others.append(pixels.view("<f2").astype(np.float32))
    assert len({digest, *(survey(other)[1] for other in others)}) == 5


def test_the_content_depends_on_type_shape_blocks_and_their_order():
    known = content(np.dtype("uint8"), (1, 2, 3), ["a", "b"])
    assert content("uint8", [1, 2, 3], iter(["a", "b"])) == known
    others = [("uint16", (1, 2, 3), "ab"), ("uint8", (1, 3, 2), "ab"), ("uint8", (1, 2, 3), "ba")]
    assert len({known, *(content(*other) for other in others)}) == 4
