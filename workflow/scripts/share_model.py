"""Export a trained model: as ONNX, for bioimage.io, or as a slideunet model in half precision."""

import argparse
import sys
from pathlib import Path
from typing import Literal

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet.errors import InputError, as_command
from slideunet.model_json import named_model

MODELS = Path(__file__).resolve().parents[2] / "resources" / "models"
Format = Literal["onnx", "bioimageio", "half"]


def main(*, model: Path, format: Format, out: Path) -> None:  # noqa: A002 (name of the option)
    """Write `out`: a file .onnx, a file .zip, or a folder. Existing files are not overwritten.

    Parameters
    ----------
    model : Path
        Folder of a model, or a name of resources/models.
    format : {"onnx", "bioimageio", "half"}
    out : Path

    Raises
    ------
    InputError
        If `out` exists, there is no model, or a package for the format is not installed.
    """
    if out.exists():
        raise InputError(f"{out} exists. Choose another name or move it.")
    model = named_model(model, MODELS)
    from slideunet.network.architecture.model_folder import half_precision, load_model, save_model

    network, facts = load_model(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    if format == "half":
        save_model(out, half_precision(network.state_dict()), facts)
    elif format == "onnx":
        _require("onnxscript")
        from slideunet.sharing.onnx_graph import MapsGraph, write_onnx

        write_onnx(MapsGraph(network), out)
    else:
        _require("onnxscript", "bioimageio.spec")
        from slideunet.sharing.bioimage import write_package

        card = model / "MODEL_CARD.md"
        write_package(network, facts, card if card.is_file() else model / "model.json", out)
    print(f"Wrote {out}.")


def _require(*packages: str) -> None:
    from importlib.util import find_spec

    missing = [package for package in packages if find_spec(package.split(".")[0]) is None]
    if missing:
        raise InputError(
            f"This format needs {' and '.join(missing)}, not part of the workflow's environment. "
            f"Install with: pip install {' '.join(missing)}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a model, or a name of resources/models"
    )
    parser.add_argument("--format", choices=("onnx", "bioimageio", "half"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="file .onnx, file .zip, or folder for half")
    return parser.parse_args()


if __name__ == "__main__":
    with as_command():
        main(**vars(_arguments()))
