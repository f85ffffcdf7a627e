import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from synthetic.drawing import draw
from synthetic.scene import Scene

from slideunet.geometry.pyramid import halved_image, level_shapes
from slideunet.slides.statistics import survey
from slideunet.slides.tissue import (
    MARGIN,
    MOST_PIXELS,
    mask_level,
    needs_tissue_mask,
    skipped_share,
    tissue_mask,
    upsampled,
)

WSI = Path(__file__).parents[3] / "shared" / "data" / "wsi"
GLASS, PINK, PALE, PURPLE = (243, 241, 243), (200, 130, 170), (241, 230, 238), (90, 60, 130)


def at_level(image, level):
    """The pyramid's own arithmetic."""
    for _ in range(level):
        image = halved_image(image)
    return image


def noisy(plane, seed=0, noise=0.4):
    """A thumbnail (3, y, x) with the noise that is left of a camera's 256 pixels."""
    random = np.random.default_rng(seed)
    return np.rint(plane + random.normal(0, noise, plane.shape)).clip(0, 255).astype(np.uint8)


def glass(height=300, width=260, colour=GLASS):
    return np.tile(np.array(colour, float)[:, None, None], (1, height, width))


def paint(plane, where, colour, texture=12.0):
    """Put tissue on a plane; at 8 um per pixel nuclei make it uneven."""
    random = np.random.default_rng(1)
    grain = ndimage.gaussian_filter(random.normal(0, 1, plane.shape[1:]), 0.7)
    for channel, value in zip(plane, colour, strict=True):
        channel[where] = (value + texture * grain / grain.std())[where]


def disc(plane, y, x, radius):
    rows, columns = np.ogrid[: plane.shape[1], : plane.shape[2]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def with_section(colour=PINK, **options):
    """A plane with a round section, and where that is."""
    plane = glass(**options)
    where = disc(plane, 150, 120, 60)
    paint(plane, where, colour)
    return plane, where


# What is found


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "donor_seed"), [(3, 5), (8, 2)])
def test_no_cell_of_a_drawn_slide_is_lost(seed, donor_seed):
    height, width, mpp = 1601, 2100, 0.5
    scene = Scene("histology", seed, donor_seed, height, width)
    image, labels = draw(scene.region, scene)
    # The right part is glass, as the slide's own donor has it.
    clear = slice(1300, width)
    image[:, :, clear] = np.rint(image[:, :, clear] * 0.02 + 0.98 * 243).astype(np.uint8)
    labels[:, clear] = 0
    level = mask_level((height, width), mpp)
    mask = tissue_mask(at_level(image, level), mpp * 2**level)
    wanted = upsampled(mask, level, slice(0, height), slice(0, width))
    assert level == 4
    assert (labels > 0).sum() > 100_000
    assert wanted[labels > 0].all()
    assert not wanted[:, 1500:].any()


@pytest.mark.slow
def test_single_cells_on_glass_are_not_dust():
    height, width, mpp, level = 2048, 2048, 0.5, 4
    image = glass(height, width)
    random = np.random.default_rng(2)
    cells = np.zeros((height, width), bool)
    for y, x in random.uniform(40, 2000, (40, 2)):
        cells |= disc(image, y, x, random.uniform(6, 9))  # 6 to 9 um across
    paint(image, cells, PURPLE)
    thumbnail = at_level(noisy(image, noise=2.5), level)
    wanted = upsampled(tissue_mask(thumbnail, mpp * 2**level), level, slice(0, height), slice(0, width))
    assert wanted[cells].all()
    assert wanted.mean() < 0.25


def test_bare_glass_is_no_tissue():
    assert not tissue_mask(noisy(glass()), 8.0).any()
    assert not tissue_mask(np.full((3, 50, 60), 255, np.uint8), 8.0).any()
    shaded = glass() * np.linspace(0.965, 1, 260)
    assert not tissue_mask(noisy(shaded), 8.0).any()
    assert not tissue_mask(compressed(noisy(glass(), noise=1.5)), None).any()


def test_a_slide_full_of_tissue_is_wanted_whole():
    for colour, texture in (
        (PINK, 12),
        (PALE, 12),
        (PURPLE, 12),
        ((235, 222, 232), 12),
        ((228, 220, 226), 4),
    ):
        plane = glass()
        paint(plane, np.ones(plane.shape[1:], bool), colour, texture)
        assert tissue_mask(noisy(plane), 8.0).all(), colour


def test_pale_tissue_is_found_where_otsu_loses_it():
    plane, dense = with_section(PURPLE)
    pale = disc(plane, 60, 210, 30)
    paint(plane, pale, PALE, texture=3.0)
    thumbnail = noisy(plane)
    grey = thumbnail.mean(axis=0)
    assert not (grey[pale] < threshold_otsu(grey)).any()
    mask = tissue_mask(thumbnail, 8.0)
    assert mask[pale].all()
    assert mask[dense].all()
    assert mask.mean() < 0.4


def test_even_pale_tissue_is_not_taken_for_the_glass():
    plane, _ = with_section()
    even = disc(plane, 60, 210, 40)
    plane[:, even] = np.array((226, 220, 224.0))[:, None]
    assert tissue_mask(noisy(plane), 8.0)[even].all()


def compressed(thumbnail, quality=20):
    buffer = io.BytesIO()
    Image.fromarray(thumbnail.transpose(1, 2, 0)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).transpose(2, 0, 1)


def pen(plane):
    plane[:, 5:25, 5:250] = np.array((20, 60, 160.0))[:, None, None]


def black_border(plane):
    plane[:, :31] = plane[:, :, :21] = 120  # half in, half out
    plane[:, :30] = plane[:, :, :20] = 3


def white_fill(plane):
    plane[:, :30] = plane[:, :, :20] = 255


def dark_band(plane):
    plane[:, :, 30:45] *= 0.7


def shading(plane):
    plane *= np.linspace(0.96, 1, plane.shape[1])[:, None]


def specks(plane):
    plane[:, 3::40, 3::40] = 255


@pytest.mark.parametrize("spoil", [pen, black_border, white_fill, dark_band, shading, specks])
@pytest.mark.parametrize("colour", [PINK, PALE], ids=["pink", "pale"])
def test_what_lies_on_a_slide_hides_no_tissue_and_is_not_all_taken_for_it(spoil, colour):
    plane, where = with_section(colour)
    spoil(plane)
    mask = tissue_mask(noisy(plane, noise=0.0), 8.0)
    assert mask[where].all()
    assert not mask[280:, 60:].any()


def test_compression_hides_no_tissue():
    plane, where = with_section(PALE)
    mask = tissue_mask(compressed(noisy(plane)), 8.0)
    assert mask[where].all()
    assert mask.mean() < 0.5


def test_what_was_not_scanned_is_skipped():
    for spoil in (black_border, white_fill):
        plane, _ = with_section()
        spoil(plane)
        mask = tissue_mask(noisy(plane, noise=0.0), 8.0)
        assert not mask[:, :20].any(), spoil
        assert not mask[:30].any(), spoil


@pytest.mark.parametrize("tint", [(243, 236, 241), (230, 233, 236), (252, 252, 252), (215, 214, 212)])
def test_glass_has_the_colour_that_it_has(tint):
    plane, where = with_section(colour=PINK)
    bare = ~where
    plane[:, bare] = np.array(tint, float)[:, None]
    plane[:, 5:12, 5:12] = 250  # a reflex is no glass
    mask = tissue_mask(noisy(plane), 8.0)
    assert mask[where].all()
    assert mask.mean() < 0.4


def test_glass_too_dark_or_too_yellow_to_be_sure_is_wanted():
    assert tissue_mask(noisy(glass(colour=(180, 180, 180))), 8.0).all()
    assert tissue_mask(noisy(glass(colour=(245, 240, 215))), 8.0).all()


def test_small_holes_are_filled_and_large_ones_are_not():
    plane, _ = with_section()
    plane[:, disc(plane, 150, 120, 40)] = np.array(GLASS, float)[:, None]
    assert tissue_mask(noisy(plane), 8.0)[150, 120]
    ring = glass(600, 600)
    paint(ring, disc(ring, 300, 300, 250) & ~disc(ring, 300, 300, 240), PINK)
    assert not tissue_mask(noisy(ring), 8.0)[300, 300]


@pytest.mark.parametrize("mpp", [2.0, 7.0, 8.0, 12.0, 24.0, 64.0])
def test_the_mask_reaches_a_cell_further_than_the_tissue(mpp):
    plane, where = with_section()
    mask, fine = tissue_mask(noisy(plane), mpp), 4
    rows, columns = (slice(0, fine * side) for side in where.shape)
    # Measured from the edges of pixels, nearly: tissue may end at either.
    distance = ndimage.distance_transform_edt(~upsampled(where, 2, rows, columns)) * mpp / fine
    wanted = upsampled(mask, 2, rows, columns)
    assert wanted[distance <= MARGIN].all()
    assert not wanted[distance > 1.5 * MARGIN + 4 * mpp].any()


def test_a_slide_of_unknown_resolution_gets_the_margin_of_the_finer_one():
    plane, where = with_section()
    mask = tissue_mask(noisy(plane), None)
    assert mask[ndimage.distance_transform_edt(~where) * 4.0 <= MARGIN].all()


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([None, 0.01, 8.0, 1000.0]), st.integers(0, 99))
def test_any_thumbnail_has_a_mask(height, width, mpp, seed):
    random = np.random.default_rng(seed)
    thumbnail = random.integers(random.integers(256), 256, (3, height, width), dtype=np.uint8)
    mask = tissue_mask(thumbnail, mpp)
    assert (mask.shape, mask.dtype) == ((height, width), bool)


# From the mask to the slide


@st.composite
def masks(draw):
    shape, level = (draw(st.integers(1, 90)), draw(st.integers(1, 90))), draw(st.integers(0, 6))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    coarse = tuple(-(-side // 2**level) for side in shape)
    return random.random(coarse) < draw(st.sampled_from([0.0, 0.5, 1.0])), shape, level


def whole(mask, shape, level):
    return np.kron(mask, np.ones((2**level, 2**level), bool))[: shape[0], : shape[1]]


@given(masks(), st.data())
def test_every_rectangle_is_a_part_of_the_same_plane(drawn, data):
    mask, shape, level = drawn
    rows, columns = (
        slice(*sorted((data.draw(st.integers(0, side)), data.draw(st.integers(0, side))))) for side in shape
    )
    found = upsampled(mask, level, rows, columns)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, whole(*drawn)[rows, columns])


@given(masks())
def test_the_skipped_share_is_exact(drawn):
    plane = whole(*drawn)
    assert skipped_share(*drawn) == (~plane).sum() / plane.size


@given(st.integers(1, 500_000), st.integers(1, 500_000), st.sampled_from([None, 1e-4, 0.25, 0.5, 3.0, 500.0]))
def test_the_level_exists_and_its_size_is_bounded(height, width, mpp):
    level = mask_level((3, height, width), mpp)
    *_, rows, columns = level_shapes((height, width))[level]
    assert rows * columns <= MOST_PIXELS


@pytest.mark.parametrize(("mpp", "level"), [(0.25, 5), (0.5, 4), (None, 4), (0.23, 5), (1.0, 3), (8.0, 0)])
def test_the_mask_has_about_eight_micrometres_per_pixel(mpp, level):
    assert mask_level((1000, 8192), mpp) == level


def test_a_mask_of_a_huge_slide_is_coarser():
    assert mask_level((400_000, 400_000), 0.25) == 7


# Which slides


def statistics_of(image):
    return survey(image)[0]


def large(plane):
    return statistics_of(noisy(plane, noise=2.0)), (2048, 2048)


def test_a_stained_whole_slide_gets_a_mask_and_a_field_of_it_does_not():
    statistics, shape = large(with_section()[0])
    for background in ("auto", "bright"):
        assert needs_tissue_mask((3, *shape), statistics, background)
        assert not needs_tissue_mask((2047, 90_000), statistics, background)
        assert not needs_tissue_mask((256, 256), statistics, background)
    assert not needs_tissue_mask(shape, statistics, "dark")


def test_an_empty_slide_gets_a_mask():
    for seed in range(8):
        statistics = statistics_of(noisy(glass(), seed=seed, noise=2.0))
        assert needs_tissue_mask((3000, 3000), statistics, "auto")


def test_what_is_no_stained_slide_gets_no_mask():
    plane, where = with_section()
    statistics = statistics_of(noisy(plane))
    assert not needs_tissue_mask((3000, 3000), statistics[:1], "auto")
    assert not needs_tissue_mask((3000, 3000), [*statistics, statistics[0]], "auto")
    dark = noisy(glass(colour=(12, 10, 14)), noise=2.0)
    dark[:, where] = 200
    assert not needs_tissue_mask((3000, 3000), statistics_of(dark), "auto")
    grey = np.repeat(noisy(plane)[1:2], 3, axis=0)
    assert not needs_tissue_mask((3000, 3000), statistics_of(grey), "auto")
    for deep in (noisy(plane).astype(np.uint16) * 257, noisy(plane) / np.float32(255)):
        assert not needs_tissue_mask((3000, 3000), statistics_of(deep), "auto")


# Real slides


def read_slide(path):
    openslide = pytest.importorskip("openslide")
    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mpp", "skipped"),
    [
        ("aperio/CMU-1-Small-Region.svs", 0.499, (0.40, 0.50)),
        ("tcga/tcga-cr-7395-01a-01-ts1.svs", None, (0.20, 0.30)),
    ],
)
def test_real_slides(name, mpp, skipped):
    image = read_slide(WSI / name)
    shape = image.shape
    assert needs_tissue_mask(shape, statistics_of(image), "auto")
    level = mask_level(shape, mpp)
    mask = tissue_mask(at_level(image, level), mpp and mpp * 2**level)
    assert skipped[0] < skipped_share(mask, shape, level) < skipped[1]
    # Nuclei are violet: less red than the glass by a third, and darker in green. None may be outside.
    nuclei = ndimage.uniform_filter((image[0] < 160) & (image[1] < 110), 5, output=np.float32) > 0.9
    wanted = upsampled(mask, level, slice(0, shape[1]), slice(0, shape[2]))
    assert nuclei.sum() > 10_000
    assert wanted[nuclei].all()
