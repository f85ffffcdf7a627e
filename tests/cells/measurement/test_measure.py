import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from making import measure_labels
from scipy import ndimage as ndi
from skimage.color import rgb2hed
from skimage.draw import ellipse
from skimage.measure import regionprops, regionprops_table

from slideunet.cells.measurement.hulls import hull_areas
from slideunet.cells.measurement.intensities import PERCENTILES
from slideunet.cells.measurement.measure import distinct_names, measure_regions
from slideunet.cells.measurement.regions import find_regions, groups, stable_order
from slideunet.cells.measurement.shapes import perimeters
from slideunet.geometry.runs import runs_of

MPP, SCALE = 0.5, 2.0
CHANNELS = ("DAPI", "actin")


def measure(labels, *arguments, **options):
    return measure_regions(find_regions(runs_of(labels)), *arguments, **options)


def scene(shape=(151, 203), count=40, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    for cell in generator.permutation(200)[:count] + 1:
        centre, radii = generator.uniform(0, shape), generator.uniform(0.8, 15, 2)
        labels[ellipse(*centre, *radii, shape=shape, rotation=generator.uniform(-3, 3))] = cell
    labels[0, 0], labels[70, 90:101] = 777, 778  # one pixel; a straight line
    return labels


@pytest.fixture(scope="module")
def measured():
    labels = scene()
    generator = np.random.default_rng(1)
    image = generator.integers(0, 65536, (2, *labels.shape)).astype(np.uint16)
    probability = generator.integers(0, 256, labels.shape).astype(np.uint8)
    table = measure_labels(labels, image, probability, CHANNELS, MPP, SCALE)
    return table, regionprops(labels.astype(int), np.moveaxis(image, 0, -1)), labels, image, probability


def test_there_is_one_row_per_cell_by_ascending_id(measured):
    table, regions, *_ = measured
    assert table["cell"].tolist() == [region.label for region in regions]
    assert table["cell"].dtype == np.uint32


@pytest.mark.parametrize("pixels", [1, 997, 10**9])
def test_cells_in_groups_measure_the_same_as_all_at_once(measured, pixels):
    table, _, labels, *images = measured
    each = list(groups(runs_of(labels), pixels))
    assert len(each) == {1: len(table), 997: np.ceil(np.count_nonzero(labels) / 997), 10**9: 1}[pixels]
    parts = [measure_regions(find_regions(group), *images, CHANNELS, MPP, SCALE) for group in each]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), table, check_exact=True)


def test_no_cells_are_one_group_without_runs():
    (group,) = groups(runs_of(np.zeros((3, 4), np.uint32)))
    assert group.shape == (3, 4)
    assert not len(group.labels)


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("area", "area"),
        ("perimeter", "perimeter"),
        ("equivalent_diameter", "equivalent_diameter_area"),
        ("major_axis", "axis_major_length"),
        ("minor_axis", "axis_minor_length"),
        ("eccentricity", "eccentricity"),
        ("solidity", "solidity"),
    ],
)
def test_shapes_equal_regionprops(measured, column, name):
    table, regions, *_ = measured
    # The minor axis of a straight line is a rounding error in skimage, 0 here.
    np.testing.assert_allclose(
        table[column], [getattr(region, name) for region in regions], rtol=1e-9, atol=1e-6
    )


def test_orientations_equal_regionprops(measured):
    table, regions, *_ = measured
    difference = table["orientation"] - [region.orientation for region in regions]
    long = table["eccentricity"] > 0.05  # the orientation of a disc is arbitrary
    assert long.sum() > 25
    np.testing.assert_allclose(np.sin(difference[long]), 0, atol=1e-9)


def test_positions_are_in_original_pixels_with_the_first_pixel_covering_0_to_1(measured):
    table, regions, *_ = measured
    centres = np.array([region.centroid for region in regions]) + 0.5
    np.testing.assert_allclose(table[["y", "x"]], centres * SCALE)
    np.testing.assert_allclose(table[["y_um", "x_um"]], centres * MPP)
    boxes = np.array([region.bbox for region in regions])
    np.testing.assert_array_equal(table[["y_min", "x_min", "y_max", "x_max"]], boxes * SCALE)
    np.testing.assert_allclose(table["area_um2"], table["area"] * MPP**2)


@pytest.mark.parametrize("channel", [0, 1])
def test_intensities_equal_scipy(measured, channel):
    table, _, labels, image, probability = measured
    name, cells = CHANNELS[channel], table["cell"]
    for column, oracle in (
        ("mean", ndi.mean),
        ("std", ndi.standard_deviation),
        ("min", ndi.minimum),
        ("max", ndi.maximum),
    ):
        np.testing.assert_allclose(
            table[f"{column}_{name}"], oracle(image[channel], labels, cells), rtol=1e-12
        )
    np.testing.assert_allclose(table["mean_probability"], ndi.mean(probability, labels, cells) / 255)


images = hnp.arrays(
    np.uint32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 4)
)


@settings(max_examples=200)
@given(images)
def test_hulls_and_perimeters_equal_regionprops_for_any_labels(labels):
    labels[0, 0] = 5
    regions = find_regions(runs_of(labels))
    oracle = regionprops_table(labels.astype(int), properties=("label", "bbox", "area_convex", "perimeter"))
    np.testing.assert_array_equal(regions.ids, oracle["label"])
    np.testing.assert_array_equal(regions.box.T, [oracle[f"bbox-{side}"] for side in range(4)])
    np.testing.assert_array_equal(hull_areas(regions), oracle["area_convex"])
    np.testing.assert_allclose(perimeters(regions), oracle["perimeter"], rtol=1e-12)


@given(images, st.integers(0, 3), st.integers(0, 3), st.sampled_from([0, 2**20, 2**32 - 10]))
def test_measurements_do_not_depend_on_the_crop_bit_for_bit(labels, down, right, first):
    image = np.random.default_rng(2).normal(0, 1, (1, *labels.shape)).astype(np.float32)
    probability = np.arange(labels.size).reshape(labels.shape).astype(np.uint8)
    frame = ((down, 1), (right, 2))
    named = np.where(labels, labels + first, 0).astype(np.uint32)
    around = measure_labels(
        np.pad(named, frame), np.pad(image, ((0, 0), *frame)), np.pad(probability, frame), ["a"], MPP,
        slide_shape=(99, 99), origin=(20, 20),
    )  # fmt: skip
    alone = measure_labels(
        named, image, probability, ["a"], MPP, slide_shape=(99, 99), origin=(20 + down, 20 + right)
    )
    pd.testing.assert_frame_equal(around, alone, check_exact=True)


@pytest.mark.parametrize(
    "dtype",
    [np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64],
    ids=lambda kind: kind.__name__,
)
def test_extremes_and_percentiles_equal_numpy(measured, dtype):
    _, _, labels, image, probability = measured
    values = image[:1].astype(dtype)
    if np.dtype(dtype).kind in "if":
        values = values - dtype(20000)
    table = measure_labels(labels, values, probability, ["a"], None)
    cells = [values[0][labels == cell].astype(np.float64) for cell in table["cell"]]
    expected = np.array([np.percentile(cell, [0, *PERCENTILES, 100]) for cell in cells])
    names = ["min_a", *(f"p{percent:02}_a" for percent in PERCENTILES), "max_a"]
    np.testing.assert_allclose(table[names], expected, rtol=1e-12)


@given(hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 2**62) | st.integers(0, 3)))
def test_radix_order_equals_stable_argsort(numbers):
    np.testing.assert_array_equal(stable_order(numbers), np.argsort(numbers, kind="stable"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stains_equal_rgb2hed_as_decadic_densities(measured, dtype):
    _, _, labels, _, probability = measured
    image = np.random.default_rng(4).integers(0, np.iinfo(dtype).max, (3, *labels.shape)).astype(dtype)
    white = np.iinfo(dtype).max
    table = measure(labels, image, probability, ["red", "green", "blue"], None, white=white)
    # rgb2hed returns densities in units of -log10(1e-6).
    oracle = 6 * rgb2hed(np.moveaxis(image, 0, -1))
    for stain, name in enumerate(("od_haematoxylin", "od_eosin")):
        np.testing.assert_allclose(
            table[name], ndi.mean(oracle[..., stain], labels, table["cell"]), rtol=1e-9
        )


def test_only_colour_images_have_stains(measured):
    _, _, labels, image, probability = measured
    floats = np.zeros((3, *labels.shape), np.float32)
    for pixels, channels in ((image, CHANNELS), (floats, ("red", "green", "blue"))):
        assert not any(
            name.startswith("od_")
            for name in measure_labels(labels, pixels, probability, channels, None, white=255)
        )


def test_the_standard_deviation_of_a_bright_flat_cell_does_not_cancel():
    labels = np.ones((50, 50), np.uint32)
    image = np.full((1, 50, 50), 1e7, np.float32)
    image[0, ::2] += 1
    table = measure_labels(labels, image, np.zeros((50, 50), np.uint8), ["a"], None)
    assert table["std_a"][0] == pytest.approx(0.5, abs=1e-9)


def test_cells_at_the_border_are_marked(measured):
    table, _, labels, *_ = measured
    border = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist()) - {0}
    assert set(table["cell"][table["touches_border"]]) == border
    assert 0 < len(border) < len(table)


def test_without_a_pixel_size_micrometres_are_nan(measured):
    table = measure(*measured[2:], CHANNELS, None)
    assert table[["y_um", "x_um", "area_um2"]].isna().all().all()
    assert table.drop(columns=["y_um", "x_um", "area_um2"]).notna().all().all()


@pytest.mark.parametrize("mpp", [None, 0.25])
def test_no_cells_give_an_empty_table_with_the_same_columns(measured, mpp):
    _, _, labels, image, probability = measured
    empty = measure_labels(np.zeros_like(labels), image, probability, CHANNELS, mpp, SCALE)
    assert len(empty) == 0
    pd.testing.assert_series_equal(
        empty.dtypes, measure_labels(labels, image, probability, CHANNELS, mpp, SCALE).dtypes
    )


def test_repeated_channel_names_are_numbered():
    assert distinct_names(["a", "a", "probability", "a_2"]) == ["a", "a_2", "probability_2", "a_2_2"]


def test_arrays_of_different_grids_are_rejected():
    labels, image, probability = np.zeros((4, 5), int), np.zeros((1, 4, 5)), np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="one grid"):
        measure_labels(labels.T, image, probability, ["a"], None)
    with pytest.raises(ValueError, match="2 channel names"):
        measure_labels(labels, image, probability, ["a", "b"], None)
