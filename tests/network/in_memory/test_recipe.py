from pathlib import Path

import pytest

from slideunet.errors import InputError
from slideunet.network.in_memory.recipe import read_recipe

SHIPPED = sorted((Path(__file__).parents[3] / "resources/models").glob("*.yaml"))


def test_two_recipes_ship():
    assert [path.stem for path in SHIPPED] == ["brightfield", "fluorescence"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("gpu", [False, True])
def test_the_recipes_that_ship_are_whole(path, gpu):
    recipe = read_recipe(path, gpu=gpu)
    assert recipe.kind == path.stem
    assert len(recipe.channels) == (1 if recipe.kind == "fluorescence" else 3)


def test_on_a_gpu_its_part_counts_and_the_command_line_counts_last(recipe_file):
    assert read_recipe(recipe_file, gpu=False).batch_size == 4
    there = read_recipe(recipe_file, gpu=True)
    assert (there.batch_size, there.model["width"], there.model["depth"]) == (9, 5, 2)
    changes = ["batch_size=2", "augmentation.darkening=0.5", "init_from=null", "model.heads=[distance]"]
    changed = read_recipe(recipe_file, gpu=True, changes=changes)
    assert changed.batch_size == 2
    assert changed.augmentation["darkening"] == 0.5
    assert changed.augmentation["flip"] == 0
    assert changed.model["heads"] == ["distance"]


def test_all_that_is_wrong_is_said_at_once(recipe_file):
    with pytest.raises(InputError) as caught:
        read_recipe(recipe_file, gpu=False, changes=["batchsize=4", "augmentation.dimm=1", "native=3"])
    text = "\n".join(caught.value.problems)
    assert all(word in text for word in ("batchsize", "augmentation.dimm", "native is 3"))
    with pytest.raises(InputError, match="KEY=VALUE"):
        read_recipe(recipe_file, gpu=False, changes=["batch_size"])
    with pytest.raises(InputError, match="no such recipe"):
        read_recipe(recipe_file.with_name("none.yaml"), gpu=False)


def test_only_fluorescence_is_made_of_stained_images():
    path = next(path for path in SHIPPED if path.stem == "brightfield")
    with pytest.raises(InputError, match="destained is true and kind brightfield"):
        read_recipe(path, gpu=False, changes=["destained=true"])
