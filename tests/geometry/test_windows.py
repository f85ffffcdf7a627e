import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slideunet.geometry.windows import read_filled, read_mirrored


class Recorder:
    """An array that notes what is read of it."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.reads = pixels, pixels.shape, []

    def __getitem__(self, index):
        self.reads.append(index)
        return self.pixels[index]


spans = st.tuples(st.integers(-40, 40), st.integers(1, 50)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.tuples(st.integers(1, 17), st.integers(1, 17)), st.tuples(spans, spans), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_window_is_cut_from_the_reflected_plane_and_read_once(shape, read, with_channels):
    shape = (2, *shape) if with_channels else shape
    pixels = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    recorder = Recorder(pixels)
    found = read_mirrored(recorder, read)

    wide = np.pad(pixels, [(0, 0)] * (len(shape) - 2) + [(100, 100)] * 2, mode="reflect")
    rows, columns = (slice(start + 100, stop + 100) for start, stop in read)
    np.testing.assert_array_equal(found, wide[..., rows, columns])
    assert found.dtype == pixels.dtype
    assert len(recorder.reads) == 1


@given(st.tuples(st.integers(1, 17), st.integers(1, 17)), st.tuples(spans, spans), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_window_is_cut_from_the_plane_filled_up_and_read_once(shape, read, with_channels):
    shape = (2, *shape) if with_channels else shape
    pixels = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    assume(all(start < side and stop > 0 for (start, stop), side in zip(read, shape[-2:], strict=True)))
    recorder = Recorder(pixels)
    found = read_filled(recorder, read, 999)

    wide = np.pad(pixels, [(0, 0)] * (len(shape) - 2) + [(100, 100)] * 2, constant_values=999)
    rows, columns = (slice(start + 100, stop + 100) for start, stop in read)
    np.testing.assert_array_equal(found, wide[..., rows, columns])
    assert found.dtype == pixels.dtype
    assert len(recorder.reads) == 1


def test_only_the_hull_of_the_window_is_read():
    recorder = Recorder(np.arange(10_000).reshape(100, 100))
    read_mirrored(recorder, ((-8, 24), (40, 50)))
    assert recorder.reads == [(..., slice(0, 24), slice(40, 50))]
    recorder.reads.clear()
    read_mirrored(recorder, ((90, 120), (95, 100)))
    assert recorder.reads == [(..., slice(79, 100), slice(95, 100))]
