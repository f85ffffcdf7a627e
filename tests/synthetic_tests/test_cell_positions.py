import numpy as np
import pytest
from scipy.spatial.distance import cdist
from synthetic import fluorescence
from synthetic.cell_positions import DEBRIS, MAX_EXTENT, SOFT_EDGE, bounds, cells_near
from synthetic.donors import fluorescence_donor
from synthetic.scene import Rectangle, Scene


def everywhere(y, x):
    return np.ones(len(y), bool)


def scene(**changes):
    return Scene(
        **{"look": "fluorescence", "seed": 3, "donor_seed": 5, "height": 900, "width": 700} | changes
    )


def test_no_cell_reaches_farther_than_what_is_drawn_around_a_region():
    for donor_seed in range(12):
        population = fluorescence_donor(donor_seed).population
        cells = cells_near(scene().region, scene(seed=donor_seed), population, everywhere)
        assert len(cells) > 50
        assert bounds(cells).max() <= MAX_EXTENT - SOFT_EDGE + 1e-9


def test_living_cells_keep_their_distance_and_touch():
    population = fluorescence_donor(5).population
    cells = cells_near(scene().region, scene(density=2.0), population, everywhere)
    cells = cells[cells["kind"] != DEBRIS]
    points = np.column_stack([cells["y"], cells["x"]])
    apart = cdist(points, points) / (cells["radius"][:, None] + cells["radius"][None])
    np.fill_diagonal(apart, np.inf)
    assert apart.min() >= population.contact
    assert (apart.min(axis=1) < 1).sum() > 10


def test_a_part_sees_the_same_cells_as_the_whole():
    population, slide = fluorescence_donor(5).population, scene()
    habitat = fluorescence.fluorescence_habitat(slide)
    whole = cells_near(slide.region, slide, population, habitat)
    part = Rectangle(311, 200, 402, 333)
    seen = cells_near(part, slide, population, habitat)
    reach = part.grown(MAX_EXTENT)
    inside = (whole["y"] >= reach.top) & (whole["y"] < reach.bottom)
    inside &= (whole["x"] >= reach.left) & (whole["x"] < reach.right)
    assert len(seen) > 5
    assert np.array_equal(seen, whole[inside])


def test_ids_are_unique_positive_and_belong_to_cells_only():
    cells = cells_near(scene().region, scene(), fluorescence_donor(5).population, everywhere)
    living = cells[cells["kind"] != DEBRIS]
    assert len(np.unique(living["id"])) == len(living)
    assert living["id"].min() > 0
    assert not cells["id"][cells["kind"] == DEBRIS].any()


def test_density_scales_the_number_of_cells_but_not_the_debris():
    def count(density):
        cells = cells_near(
            scene().region, scene(density=density), fluorescence_donor(5).population, everywhere
        )
        return int((cells["kind"] != DEBRIS).sum()), int((cells["kind"] == DEBRIS).sum())

    none, sparse, dense = count(0.0), count(0.5), count(1.5)
    assert none[0] == 0 < sparse[0] < dense[0]
    assert min(none[1], sparse[1], dense[1]) > 10


@pytest.mark.parametrize("size", [(1, 1), (17, 300)])
def test_tiny_slides_have_a_lattice(size):
    cells = cells_near(
        Rectangle(0, 0, *size),
        scene(height=size[0], width=size[1]),
        fluorescence_donor(5).population,
        everywhere,
    )
    assert cells.ndim == 1
