import numpy as np
import pytest
from synthetic.cell_positions import CELL, DEBRIS, MAX_EXTENT
from synthetic.nucleus_shapes import chromatin, paint_labels, stamp_cells
from synthetic.scene import Rectangle

FIELD = Rectangle(10, 20, 90, 117)


def cell(y, x, radius, *, id_=7, elongation=1.0, angle=0.0, wobble=(0, 0, 0), kind=0):
    one = np.zeros(1, CELL)
    for name, value in {"id": id_, "y": y, "x": x, "radius": radius, "elongation": elongation}.items():
        one[name] = value
    one["angle"], one["wobble"], one["kind"] = angle, wobble, kind
    return one


def pixel_centres(region=FIELD):
    return np.meshgrid(region.rows, region.columns, indexing="ij")


def test_a_round_cell_is_the_disc_around_its_centre():
    labels = paint_labels(stamp_cells(cell(50.3, 60.8, 9.37)), FIELD)
    y, x = pixel_centres()
    assert np.array_equal(labels == 7, np.hypot(y - 50.3, x - 60.8) <= 9.37)


def test_a_long_cell_is_the_rotated_ellipse():
    angle, radius, elongation = 0.7, 9.0, 2.2
    labels = paint_labels(stamp_cells(cell(50.31, 60.82, radius, elongation=elongation, angle=angle)), FIELD)
    y, x = pixel_centres()
    along = (x - 60.82) * np.cos(angle) + (y - 50.31) * np.sin(angle)
    across = (y - 50.31) * np.cos(angle) - (x - 60.82) * np.sin(angle)
    expected = along**2 / (radius**2 * elongation) + across**2 / (radius**2 / elongation) <= 1
    assert np.array_equal(labels > 0, expected)


def test_fourier_terms_perturb_the_radius():
    wobble = (0.1 - 0.05j, 0.06j, -0.04)
    labels = paint_labels(stamp_cells(cell(50.3, 60.8, 11.0, wobble=wobble)), FIELD)
    y, x = pixel_centres()
    angle = np.arctan2(y - 50.3, x - 60.8)
    outline = 1 + sum(
        c.real * np.cos(k * angle) + c.imag * np.sin(k * angle)
        for k, c in zip((2, 3, 4), map(complex, wobble), strict=True)
    )
    assert np.array_equal(labels > 0, np.hypot(y - 50.3, x - 60.8) <= 11.0 * outline)


@pytest.mark.parametrize("upper_radius", [6.0, 25.0])
def test_the_upper_cell_owns_the_overlap(upper_radius):
    lower, upper = cell(50, 60, 10.5, id_=1), cell(54, 66, upper_radius, id_=2)
    labels = paint_labels(stamp_cells(np.concatenate([lower, upper])), FIELD)
    alone = {cell_["id"][0]: paint_labels(stamp_cells(cell_), FIELD) > 0 for cell_ in (lower, upper)}
    assert (alone[1] & alone[2]).any()
    assert np.array_equal(labels == 2, alone[2])
    assert np.array_equal(labels == 1, alone[1] & ~alone[2])


def test_cells_at_the_border_are_cut_and_debris_is_not_labelled():
    at_border = cell(FIELD.top - 3, FIELD.left + 20, 8)
    debris = cell(60, 80, 8, id_=0, kind=DEBRIS)
    labels = paint_labels(stamp_cells(np.concatenate([at_border, debris])), FIELD)
    assert set(np.unique(labels[0])) == {0, 7}
    assert not labels[10:].any()


def test_cells_that_do_not_touch_the_region_leave_no_trace():
    assert not paint_labels(stamp_cells(cell(FIELD.bottom + MAX_EXTENT + 30, 60, 12)), FIELD).any()


def test_chromatin_differs_between_cells_and_has_unit_scale():
    cells = np.concatenate([cell(50, 60, 12), cell(50, 60, 12)])
    cells["texture"] = [(3, 9), (120, 77)]
    (stamps,) = stamp_cells(cells)
    texture = chromatin(stamps, donor_seed=4, grain=1.3)
    assert texture.shape == stamps.level.shape
    assert abs(np.corrcoef(texture[0].ravel(), texture[1].ravel())[0, 1]) < 0.3
    assert 0.5 < texture.std() < 2
