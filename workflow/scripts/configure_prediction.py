"""Write the configuration of `make predict`: a sheet beside it and a trained model."""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet.errors import InputError, as_command
from slideunet.model_json import is_model
from slideunet.stores.files import write_atomically


def main(*, model: str, channels: str, diameter: str, out: Path) -> None:
    """Write `out`, for a sheet slides.tsv in the same folder.

    Parameters
    ----------
    model : str
        Folder of a model, or a name of resources/models.
    channels, diameter : str
        Values of `data.channels` and `cells.diameter` as in a configuration, in YAML; empty for the defaults.
    out : Path

    Raises
    ------
    InputError
        If a value is no YAML.
    """
    config = {
        "slides": "slides.tsv",
        "model": {"weights": _reachable(Path(model), out.parent) if is_model(Path(model)) else model},
        "data": {"channels": _value("CHANNELS", channels)},
        "cells": {"diameter": _value("DIAMETER", diameter or "auto")},
    }
    write_atomically(out, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))


def _reachable(model: Path, folder: Path) -> str:
    """Return the path of a model, by a link in `folder` if Snakemake would take it for a wildcard."""
    if "{" not in str(model.resolve()):
        return str(model.resolve())
    link = folder / "model"
    if link.is_symlink():
        link.unlink()
    if link.exists():
        raise InputError(
            f"{link} exists, where the link to {model} would be. Rename it, or choose another OUT."
        )
    folder.mkdir(parents=True, exist_ok=True)
    link.symlink_to(model.resolve(), target_is_directory=True)
    return link.name


def _value(name: str, text: str) -> Any:  # noqa: ANN401 (the schema checks it)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(
            f"{name}={text}: is no value of a configuration. Give one such as `grey` or `60`."
        ) from None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a model, or a name of resources/models")
    parser.add_argument("--channels", default="", help="data.channels, as in a configuration")
    parser.add_argument("--diameter", default="", help="cells.diameter, as in a configuration")
    parser.add_argument("--out", type=Path, required=True, help="the configuration")
    return parser.parse_args()


if __name__ == "__main__":
    with as_command():
        main(**vars(_arguments()))
