import numpy as np
import pytest
import yaml

from slideunet.network.in_memory.archive import Entry, PackedImage
from slideunet.network.in_memory.recipe import AUGMENTATIONS, Recipe

STILL = dict.fromkeys(AUGMENTATIONS, 0)


def discs(shape, count, radius, rng):
    """Return labels of discs that do not lie over each other."""
    labels = np.zeros(shape, np.uint16)
    rows, columns = np.indices(shape)
    number = 0
    for y, x in rng.integers(0, shape, (count, 2)):
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        if not labels[disc].any():
            number += 1
            labels[disc] = number
    return labels


@pytest.fixture
def draw_image():
    """Draw an image of bright discs, with its labels."""

    def draw(seed, *, shape=(150, 131), radius=6, source="A", channels=1, split="train", count=60):
        rng = np.random.default_rng(seed)
        labels = discs(shape, count, radius, rng)
        image = np.where(labels > 0, 150, 20) + rng.normal(0, 5, (channels, *shape))
        kind = "fluorescence" if channels == 1 else "brightfield"
        entry = Entry(
            f"{source}{seed}", source, f"g{seed}", "s", kind, split, True, "CC0-1.0", f"{source}-{seed}"
        )
        return PackedImage(entry, image.clip(0, 255).astype(np.uint8), labels)

    return draw


@pytest.fixture
def recipe_values():
    """Return the values of a small recipe without changes of the image."""
    return {
        "kind": "fluorescence",
        "channels": ["grey"],
        "normalisation": "percentile",
        "background": "dark",
        "model": {
            "preset": "light",
            "width": 4,
            "depth": 2,
            "decoder": None,
            "dropout": None,
            "heads": ["distance", "centres"],
            "encoder": None,
        },
        "init_from": None,
        "encoder_weights": "random",
        "batch_size": 4,
        "micro_batch_size": None,
        "patch_size": 64,
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 0.1,
        "ema": 0.9,
        "loss": "bce_dice",
        "loss_weights": [1.0, 2.0],
        "border_weight": 5,
        "freeze_batch_norm": 0.3,
        "diameters": [6, 30],
        "native": 0.0,
        "stratum_balance": 0.0,
        "source_balance": 1.0,
        "destained": False,
        "negatives": 0.0,
        "augmentation": dict(STILL),
        "validations": 2,
        "validation_images": 2,
        "best_by": "mean_ap",
        "precision": "fp32",
        "compile": False,
        "seed": 0,
    }


@pytest.fixture
def make_recipe(recipe_values):
    """Build a recipe with some values changed; augmentations are merged."""

    def make(augmentation=None, **changes):
        values = recipe_values | changes
        return Recipe(**values | {"augmentation": values["augmentation"] | (augmentation or {})})

    return make


@pytest.fixture
def recipe_file(tmp_path, recipe_values):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_values | {"gpu": {"batch_size": 9, "model": {"width": 5}}}))
    return path
