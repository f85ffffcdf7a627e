"""Calibrate a trained model for int8: measure ranges on images and write them into its model.json."""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet.errors import InputError, as_command
from slideunet.geometry.pixels import Pixels
from slideunet.model_json import named_model, read_model_facts

MODELS = Path(__file__).resolve().parents[2] / "resources/models"
_MOST = 48  # As many as crops are taken.


def main(*, model: Path, images: Path) -> None:
    """Rewrite `model.json`; the weights stay.

    Parameters
    ----------
    model : Path
        Folder of a model, or a name of resources/models.
    images : Path
        Folder of images, or a file written by resources/models/pack.py, of which the training images are
        taken.

    Raises
    ------
    InputError, MachineError
        See `add_calibration`, `pair_folders`, `open_image` and `read_archive`.
    """
    model = named_model(model, MODELS)
    facts = read_model_facts(model)
    from slideunet.network.inference.calibration import add_calibration
    from slideunet.slides.normalisation import normalisation
    from slideunet.slides.statistics import survey

    read = _packed(images, facts) if images.suffix == ".zip" else _files(images, facts)
    rule = (facts["normalisation"], facts["background"])
    add_calibration(model, [(pixels, normalisation(survey(pixels)[0], *rule)) for pixels in read])
    print(f"Wrote the ranges for int8 into {model / 'model.json'}.")


def _packed(path: Path, facts: dict[str, Any]) -> Iterator[Pixels]:
    from slideunet.network.in_memory.archive import read_archive
    from slideunet.network.in_memory.validation import some_of_each

    kind = "fluorescence" if len(facts["channels"]) == 1 else "brightfield"
    train = [packed for packed in read_archive(path, kind) if packed.entry.split == "train"]
    sources = len({packed.entry.source for packed in train})
    yield from (packed.image for packed in some_of_each(train, -(-_MOST // max(sources, 1))))


def _files(folder: Path, facts: dict[str, Any]) -> Iterator[Pixels]:
    from slideunet.inputs.make_sheet import pair_folders
    from slideunet.readers.open_source import choose_channels, open_image

    names, count = facts["channels"], len(facts["channels"])
    rows = pair_folders(folder, None)[0]
    for path in rows["image"][:: -(-len(rows) // _MOST)]:
        source = choose_channels(open_image(Path(path)), {1: "grey", 3: "rgb"}.get(count))
        if len(source.channels) != count:
            raise InputError(
                f"{path} has {len(source.channels)} channels, and the model {count} ({', '.join(names)}). "
                "Name a folder of images with the model's channels."
            )
        yield source.pixels


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a model, or a name of resources/models"
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of images like those of training")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with as_command():
        main(**vars(_arguments()))
