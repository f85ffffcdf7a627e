import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from slideunet.slides.display import display_windows
from slideunet.slides.statistics import survey

DTYPES = (np.uint8, np.uint16, np.float32)
shapes = st.tuples(st.integers(3, 4), st.integers(1, 9), st.integers(1, 9))
finite = {"allow_nan": False, "allow_infinity": False}


@given(
    pixels=st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, shapes, elements=finite if dtype is np.float32 else None)
    ),
    colours=st.booleans(),
)
def test_windows_are_never_empty_and_lie_within_the_limits(pixels, colours):
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else None
    windows = display_windows(survey(pixels)[0], pixels.dtype, colours=colours, white=white)
    assert len(windows) == len(pixels)
    for plane, window in zip(pixels, windows, strict=True):
        assert window["min"] <= window["start"] < window["end"] <= window["max"]
        assert window["min"] <= plane.min() and plane.max() <= window["max"]
    if colours:
        assert len({(window["start"], window["end"]) for window in windows[:3]}) == 1


def test_the_window_is_that_of_the_percentiles():
    pixels = np.random.default_rng(0).gamma(2, 300, (2, 97, 131)).astype(np.uint16)
    for plane, window in zip(
        pixels, display_windows(survey(pixels)[0], pixels.dtype, colours=False, white=None), strict=True
    ):
        expected = np.percentile(plane, [1, 99.8], method="inverted_cdf").tolist()
        assert [window["start"], window["end"]] == expected
        assert (window["min"], window["max"]) == (0, 65535)


def test_rare_bright_pixels_are_seen():
    pixels = np.zeros((1, 100, 100), np.uint16)
    pixels[0, 3, :5] = 4000
    (window,) = display_windows(survey(pixels)[0], pixels.dtype, colours=False, white=None)
    assert (window["start"], window["end"]) == (0, 4000)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 4095)])
def test_colours_are_shown_from_black_to_white(dtype, white):
    pixels = np.random.default_rng(0).integers(90, 200, (3, 20, 30)).astype(dtype)
    windows = display_windows(survey(pixels)[0], pixels.dtype, colours=True, white=white)
    assert {(window["start"], window["end"]) for window in windows} == {(0, white)}
