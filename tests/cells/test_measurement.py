import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi
from skimage.draw import ellipse
from skimage.measure import regionprops

from slideunet.cells.measurement import distinct_names, measure

MPP, SCALE = 0.5, 2.0
CHANNELS = ("DAPI", "actin")


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
    table = measure(labels, image, probability, CHANNELS, MPP, SCALE)
    return table, regionprops(labels.astype(int), np.moveaxis(image, 0, -1)), labels, image, probability


def test_there_is_one_row_per_cell_by_ascending_id(measured):
    table, regions, *_ = measured
    assert table["cell"].tolist() == [region.label for region in regions]
    assert table["cell"].dtype == np.uint32


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
def test_shapes_are_those_of_regionprops(measured, column, name):
    table, regions, *_ = measured
    # Of a straight line skimage's smallest eigenvalue is a rounding error, ours is 0.
    np.testing.assert_allclose(
        table[column], [getattr(region, name) for region in regions], rtol=1e-9, atol=1e-6
    )


def test_orientations_are_those_of_regionprops(measured):
    table, regions, *_ = measured
    difference = table["orientation"] - [region.orientation for region in regions]
    long = table["eccentricity"] > 0.05  # that of a disc is arbitrary
    assert long.sum() > 25
    np.testing.assert_allclose(np.sin(difference[long]), 0, atol=1e-9)


def test_places_are_in_pixels_of_the_original_whose_first_covers_0_to_1(measured):
    table, regions, *_ = measured
    centres = np.array([region.centroid for region in regions]) + 0.5
    np.testing.assert_allclose(table[["y", "x"]], centres * SCALE)
    np.testing.assert_allclose(table[["y_um", "x_um"]], centres * MPP)
    boxes = np.array([region.bbox for region in regions])
    np.testing.assert_array_equal(table[["y_min", "x_min", "y_max", "x_max"]], boxes * SCALE)
    np.testing.assert_allclose(table["area_um2"], table["area"] * MPP**2)


@pytest.mark.parametrize("channel", [0, 1])
def test_intensities_are_those_of_scipy(measured, channel):
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


def test_the_deviation_of_a_bright_flat_cell_does_not_cancel():
    labels = np.ones((50, 50), np.uint32)
    image = np.full((1, 50, 50), 1e7, np.float32)
    image[0, ::2] += 1
    table = measure(labels, image, np.zeros((50, 50), np.uint8), ["a"], None)
    assert table["std_a"][0] == pytest.approx(0.5, abs=1e-9)


def test_cells_at_the_border_are_marked(measured):
    table, _, labels, *_ = measured
    border = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist()) - {0}
    assert set(table["cell"][table["touches_border"]]) == border
    assert 0 < len(border) < len(table)


def test_an_unknown_pixel_size_leaves_micrometres_empty(measured):
    table = measure(*measured[2:], CHANNELS, None)
    assert table[["y_um", "x_um", "area_um2"]].isna().all().all()
    assert table.drop(columns=["y_um", "x_um", "area_um2"]).notna().all().all()


@pytest.mark.parametrize("mpp", [None, 0.25])
def test_no_cells_give_an_empty_table_with_the_same_columns(measured, mpp):
    _, _, labels, image, probability = measured
    empty = measure(np.zeros_like(labels), image, probability, CHANNELS, mpp, SCALE)
    assert len(empty) == 0
    pd.testing.assert_series_equal(
        empty.dtypes, measure(labels, image, probability, CHANNELS, mpp, SCALE).dtypes
    )


def test_equal_channel_names_get_columns_of_their_own():
    assert distinct_names(["a", "a", "probability", "a_2"]) == ["a", "a_2", "probability_2", "a_2_2"]


def test_arrays_of_different_grids_are_refused():
    labels, image, probability = np.zeros((4, 5), int), np.zeros((1, 4, 5)), np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="one grid"):
        measure(labels.T, image, probability, ["a"], None)
    with pytest.raises(ValueError, match="2 channel names"):
        measure(labels, image, probability, ["a", "b"], None)
