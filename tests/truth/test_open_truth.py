"""Truth in every form gives the cells that were written, and what would lose cells is refused."""

from pathlib import Path

import dask.array
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from making import blocks_of
from PIL import Image
from scipy import ndimage
from skimage.draw import disk
from skimage.measure import label

from slideunet.errors import InputError
from slideunet.truth import open_truth as open_truth_module
from slideunet.truth.components import find_components
from slideunet.truth.ignore_label import IGNORE_LABEL, foreground_and_valid
from slideunet.truth.open_truth import open_truth

DSB2018 = Path(__file__).parents[2] / ".." / "shared" / "data" / "dsb2018"
SHAPE = (48, 60)


def cells(*ids, dtype="uint16"):
    """Discs that do not touch, with the given ids."""
    labels = np.zeros(SHAPE, dtype)
    for i, value in enumerate(ids):
        labels[disk((8 + 16 * (i // 4), 8 + 14 * (i % 4)), 5)] = value
    return labels


def save(path, array, **options):
    if path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path, **options)
    return path


def write_zarr(path, array, **metadata):
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=array, chunks=(16, 16))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [dataset]}],
        **metadata,
    }
    return path


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        (".png", "uint8"),
        (".png", "uint16"),
        *((".tif", f"{k}{b}") for k in ("int", "uint") for b in (8, 16, 32, 64)),
    ],
)
def test_label_images_of_every_width(tmp_path, suffix, dtype):
    labels = cells(1, 2, 3, 4, 5, dtype=dtype)
    found = open_truth(save(tmp_path / f"m{suffix}", labels), SHAPE)
    assert found.labels.dtype == np.uint32
    assert found.warnings == ()
    np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_numbers_as_floats(tmp_path, dtype):
    labels = cells(1, 2, 3, dtype=dtype)
    np.testing.assert_array_equal(open_truth(save(tmp_path / "m.tif", labels), SHAPE).labels, labels)


def test_palette_indices_are_ids(tmp_path):
    labels = cells(1, 2, 3, dtype="uint8")
    image = Image.fromarray(labels, "P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype="uint8").tobytes())
    image.save(tmp_path / "m.png", transparency=0)
    np.testing.assert_array_equal(open_truth(tmp_path / "m.png", SHAPE).labels, labels)


@settings(max_examples=50, deadline=None)
@given(
    ids=arrays(
        "int64",
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.sampled_from([0, 0, 1, 5, 2**33, 2**62]),
    )
)
def test_ids_become_consecutive_in_their_order(tmp_path_factory, ids):
    ids[0, 0] = 0
    path = save(tmp_path_factory.mktemp("ids") / "m.tif", ids)
    if len(np.unique(ids[ids > 0])) < 2:
        return
    expected = np.unique(ids, return_inverse=True)[1].reshape(ids.shape)
    found = open_truth(path, ids.shape, kind="instances", background_label=0)
    np.testing.assert_array_equal(found.labels, expected)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("uint8", 1),
        ("uint8", 255),
        ("uint16", 65535),
        ("uint16", 255),
        ("float32", 1),
        ("bool", 1),
        ("int16", 32767),
    ],
)
def test_binary_mask_becomes_components(tmp_path, dtype, value):
    mask = cells(1, 2, 3, 4, 5, 6) > 0
    mask[13, 13] = True  # touches the first disc at a corner or not at all
    array = mask.astype(dtype) * np.array(value, dtype)
    found = open_truth(save(tmp_path / "m.tif", array), SHAPE)
    expected, count = ndimage.label(mask, structure=np.ones((3, 3)))
    assert found.labels.max() == count
    np.testing.assert_array_equal(found.labels > 0, mask)
    assert len(np.unique(np.stack([found.labels[mask], expected[mask]]), axis=1).T) == count
    assert any("touching cells count as one" in w for w in found.warnings)


def test_one_bit_png_mask(tmp_path):
    mask = cells(1, 2, 3) > 0
    found = open_truth(save(tmp_path / "m.png", mask), SHAPE)
    np.testing.assert_array_equal(found.labels > 0, mask)
    assert found.labels.max() == 3


def test_a_mask_of_one_cell_is_a_label_image(tmp_path):
    labels = cells(1)
    found = open_truth(save(tmp_path / "m.png", labels), SHAPE)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.warnings == ()


def test_corner_neighbours_are_one_cell(tmp_path):
    mask = np.array([[255, 0, 0, 0], [0, 255, 0, 255]], "uint8")
    np.testing.assert_array_equal(
        open_truth(save(tmp_path / "m.png", mask), (2, 4)).labels, [[1, 0, 0, 0], [0, 1, 0, 2]]
    )


def test_empty_mask_is_a_warning(tmp_path):
    found = open_truth(save(tmp_path / "m.png", cells()), SHAPE)
    assert found.labels.max() == 0
    assert found.warnings == ("labels without a single cell",)


def test_gaps_and_scattered_ids_are_warned_of(tmp_path):
    found = open_truth(save(tmp_path / "m.png", cells(3, 3, 9, 12)), SHAPE)
    assert found.labels.max() == 3
    assert any("1 of 3 ids occur in several places (the first is 3)" in w for w in found.warnings)
    assert any("gaps (3 ids up to 12)" in w for w in found.warnings)


@pytest.mark.parametrize("wrong", [(60, 48), (48, 61)])
def test_shape(tmp_path, wrong):
    path = save(tmp_path / "m.png", cells(1, 2))
    with pytest.raises(
        InputError, match=rf"{wrong[0]} x {wrong[1]} \(y x x\) but the labels are 48 x 60"
    ) as caught:
        open_truth(path, wrong)
    assert ("transposed" in str(caught.value)) == (wrong == (60, 48))


def overflowing_bytes():
    labels = np.zeros((100, 60), "uint32")
    labels[::2, ::2] = np.arange(1, 1501).reshape(50, 30)
    return (labels % 256).astype("uint8")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((*SHAPE, 3), "uint8"), "3 channels"),
        (-cells(1, 2, dtype="int16"), "negative"),
        (cells(1, 2, dtype="float32") / 2, "not whole"),
        (np.where(cells(1) > 0, np.nan, 0).astype("float32"), "not finite"),
        (np.where(cells(1) > 0, np.inf, 0).astype("float32"), "not finite"),
        (np.full(SHAPE, 7, "uint8"), "Inverted"),
        (cells(7, 7, 7), "the only id 7 occurs in 3 places"),
        (overflowing_bytes(), "all 255 ids of 8 bits"),
        (cells(1, 2).astype("complex64"), "not ids"),
    ],
)
def test_refusals(tmp_path, array, reason):
    tifffile.imwrite(tmp_path / "m.tif", array, photometric="rgb" if array.ndim == 3 else "minisblack")
    with pytest.raises(InputError, match=reason) as caught:
        open_truth(tmp_path / "m.tif", array.shape[:2])
    assert "m.tif" in str(caught.value)


@pytest.mark.parametrize("name", ["m.jpg", "m.tif"])
def test_lossy_labels(tmp_path, name):
    labels = cells(50, 100, 150, dtype="uint8")
    path = save(tmp_path / name, labels, **({"compression": "jpeg"} if name == "m.tif" else {}))
    with pytest.raises(InputError, match="JPEG"):
        open_truth(path, SHAPE)


def test_stored_values_count_where_zero_means_white(tmp_path):
    found = open_truth(save(tmp_path / "m.tif", cells(1, 2), photometric="miniswhite"), SHAPE)
    np.testing.assert_array_equal(found.labels, cells(1, 2))
    assert "MinIsWhite" in found.warnings[0]


def test_missing_and_damaged(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_truth(tmp_path / "m.png", SHAPE)
    path = save(tmp_path / "m.png", np.random.default_rng(0).integers(0, 60000, SHAPE, dtype="uint16"))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be decoded"):
        open_truth(path, SHAPE)


def test_ome_zarr_labels_by_path_or_within_an_image(tmp_path):
    labels = cells(1, 2, 3, dtype="uint32")
    image = write_zarr(tmp_path / "i.zarr", np.ones(SHAPE, "uint8"))
    zarr.open_group(image, mode="a").create_group("labels").attrs["ome"] = {
        "version": "0.5",
        "labels": ["cells"],
    }
    write_zarr(image / "labels" / "cells", labels, **{"image-label": {}})
    for path in (image, image / "labels" / "cells"):
        np.testing.assert_array_equal(open_truth(path, SHAPE).labels, labels)
    np.testing.assert_array_equal(
        open_truth(write_zarr(tmp_path / "bare.zarr", labels), SHAPE).labels, labels
    )


@pytest.mark.parametrize(
    ("names", "reason"), [(["a", "b"], "2 label images"), ([], "0 label images"), (["../.."], "outside")]
)
def test_ome_zarr_with_other_than_one_label(tmp_path, names, reason):
    image = write_zarr(tmp_path / "i.zarr", np.ones(SHAPE, "uint8"))
    zarr.open_group(image, mode="a").create_group("labels").attrs["ome"] = {"version": "0.5", "labels": names}
    with pytest.raises(InputError, match=reason):
        open_truth(image, SHAPE)


@pytest.mark.parametrize("scale", [1.6, 2.0, 3.3])
def test_labels_at_the_working_resolution(tmp_path, scale):
    labels = cells(4, 5, 6, 7)
    labels[40, 50] = 8
    shape = tuple(-(-n // scale) for n in SHAPE)
    shape = int(shape[0]), int(shape[1])
    found = open_truth(save(tmp_path / "m.png", labels), SHAPE, scale=scale, working_shape=shape)
    centres = [
        ((np.arange(n) + 0.5) * scale).astype(int).clip(max=m - 1) for n, m in zip(shape, SHAPE, strict=True)
    ]
    expected = labels[np.ix_(*centres)]
    kept = np.unique(expected[expected > 0])
    np.testing.assert_array_equal(found.labels, np.where(expected, np.searchsorted(kept, expected) + 1, 0))
    lost = 5 - len(kept)
    assert any(
        f"{lost} of 5 cells are too small for the working resolution" in w for w in found.warnings
    ) == bool(lost)
    with pytest.raises(InputError, match="48 x 60"):  # labels belong to the full resolution
        open_truth(tmp_path / "m.png", (47, 60), scale=scale, working_shape=shape)


# --- large images


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    ids=arrays(
        st.sampled_from(["uint8", "int32", "uint64"]),
        st.tuples(st.integers(1, 30), st.integers(1, 30)),
        elements=st.sampled_from([0, 0, 1, 1, 2, 255]),
    ),
    side=st.integers(1, 31),
)
def test_components_are_those_of_the_whole_image(ids, side):
    """Numbered in the same order, whatever squares they were found in."""
    expected, count = label(ids, connectivity=2, return_num=True)
    with blocks_of(side):
        components = find_components(ids)
    np.testing.assert_array_equal(components[:, :], expected)
    np.testing.assert_array_equal(components[3:17, 5:], expected[3:17, 5:])
    assert len(components.ids) == count
    assert components.background == (ids == 0).any()
    for number in range(1, count + 1):
        assert (ids[expected == number] == components.ids[number - 1]).all()


def test_a_spiral_through_all_squares_is_one_component():
    spiral = np.zeros((41, 41), "uint8")
    y, x = 0, -1
    for step, length in enumerate([41, *np.repeat(np.arange(40, 0, -2), 2)]):
        dy, dx = [(0, 1), (1, 0), (0, -1), (-1, 0)][step % 4]
        for _ in range(length):
            y, x = y + dy, x + dx
            spiral[y, x] = 1
    with blocks_of(7):
        assert len(find_components(spiral).ids) == label(spiral, connectivity=2).max() == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["labels", "mask", "gaps", "scattered"])
@pytest.mark.parametrize("scale", [1.0, 2.0, 2.6])
def test_labels_of_large_images_are_lazy_and_the_same(tmp_path, monkeypatch, kind, scale):
    labels = {"labels": cells(1, 2, 3, 4, 5), "gaps": cells(9, 2, 4, 40), "scattered": cells(3, 7, 3, 5)}
    array = labels.get(kind, (cells(1, 2, 3, 4, 5, 6) > 0).astype("uint8") * 255)
    path = save(tmp_path / "m.tif", array, tile=(16, 16), compression="zlib")
    shape = tuple(int(np.ceil(n / scale)) for n in SHAPE)
    whole = open_truth(path, SHAPE, scale=scale, working_shape=shape)
    monkeypatch.setattr(open_truth_module, "IN_MEMORY_PIXELS", 0)
    with blocks_of(13):
        lazy = open_truth(path, SHAPE, scale=scale, working_shape=shape)
    assert isinstance(whole.labels, np.ndarray)
    assert isinstance(lazy.labels, dask.array.Array)
    assert (lazy.warnings, lazy.count) == (whole.warnings, whole.count)
    assert whole.count == whole.labels.max()
    np.testing.assert_array_equal(lazy.labels.compute(), whole.labels)
    np.testing.assert_array_equal(lazy.labels[5:19, 3:].compute(), whole.labels[5:19, 3:])


def test_a_wrong_value_far_from_the_first_block_is_placed(tmp_path):
    labels = cells(1, 2, dtype="int16")
    labels[37, 51] = -5
    with (
        blocks_of(16),
        pytest.raises(InputError, match=r"1 values are negative.* the first is -5 at y 37, x 51"),
    ):
        open_truth(save(tmp_path / "m.tif", labels), SHAPE)


@pytest.mark.skipif(not DSB2018.is_dir(), reason="the real labelled images are not there")
def test_real_masks():
    for path in sorted((DSB2018 / "masks").glob("*.png"))[:20]:
        expected = np.asarray(Image.open(path))
        np.testing.assert_array_equal(open_truth(path, expected.shape).labels, expected)


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("scale", [1, 2])
@given(labels=arrays(np.uint16, (12, 20), elements=st.sampled_from([0, 3, 4, 9, 200])))
@settings(max_examples=25, deadline=None)
def test_a_value_stands_for_ignored_pixels(tmp_path_factory, labels, scale, lazy):
    labels[0, :3] = 0, 3, 4  # Something to find, and no mask.
    path = save(tmp_path_factory.mktemp("u") / "l.tif", labels)
    working = tuple(side // scale for side in labels.shape)
    with pytest.MonkeyPatch.context() as patch:
        if lazy:
            patch.setattr(open_truth_module, "IN_MEMORY_PIXELS", 0)
        keys = {"ignore_label": 200, "background_label": 0, "kind": "instances"}
        found = open_truth(path, labels.shape, scale=scale, working_shape=working, **keys)
    taken = labels[scale // 2 :: scale, scale // 2 :: scale]
    present = [value for value in (3, 4, 9) if (taken == value).any()]
    expected = np.zeros(working, np.uint32)
    for number, value in enumerate(present, start=1):
        expected[taken == value] = number
    expected[taken == 200] = IGNORE_LABEL
    np.testing.assert_array_equal(np.asarray(found.labels), expected)
    assert found.count == len(present)


def test_a_mask_may_have_ignored_pixels(tmp_path):
    mask = (cells(1, 1, 1, dtype="uint8") > 0).astype(np.uint8) * 255
    mask[30:] = 128
    found = open_truth(save(tmp_path / "m.png", mask), SHAPE, ignore_label=128)
    assert found.count == 3
    np.testing.assert_array_equal(found.labels == IGNORE_LABEL, mask == 128)
    np.testing.assert_array_equal(foreground_and_valid(found.labels)[0], mask == 255)
    assert "binary mask" in found.warnings[0]
    share = f"{(mask == 128).mean():.1%} of the pixels are ignored (the value 128)"
    assert any(text.startswith(share) for text in found.warnings)


def test_the_largest_id_of_32_bits_is_a_cell_unless_it_is_said_to_be_none(tmp_path):
    labels = cells(1, 2, dtype="uint32")
    labels[labels == 2] = 2**32 - 1
    path = save(tmp_path / "l.tif", labels)
    assert open_truth(path, SHAPE).labels.max() == 2
    assert open_truth(path, SHAPE, ignore_label=2**32 - 1).count == 1
