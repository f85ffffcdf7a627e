import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label

from slideunet.cells.export.parts import parts
from slideunet.cells.measurement.regions import find_regions
from slideunet.geometry.runs import runs_of

images = hnp.arrays(
    np.uint32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 3)
)


@settings(max_examples=300, deadline=None)
@given(images)
def test_parts_are_those_of_scikit_image_ordered_by_cell_and_place(labels):
    regions = find_regions(runs_of(labels))
    found = np.zeros(labels.shape, np.int32)
    found.ravel()[regions.pixels] = parts(regions)
    expected = label(labels, connectivity=1, background=0)
    assert np.array_equal(found > 0, labels > 0)
    pairs = set(zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == len({of for of, _ in pairs}) == len({theirs for _, theirs in pairs})
    place = {
        int(number): divmod(int(np.flatnonzero(found == number)[0]), labels.shape[1])
        for number in np.unique(found)
    }
    by_cell = sorted((int(labels[at]), at, number) for number, at in place.items() if number)
    numbers = [number for *_, number in by_cell]
    assert numbers == sorted(numbers)
