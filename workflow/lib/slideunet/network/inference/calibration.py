"""Calibration for int8: the ranges of the layers' inputs on typical images, measured by NNCF.

Only `calibrate` needs NNCF (docs/dependencies.md); a prediction needs the ranges alone.
"""

import importlib.metadata
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from slideunet.errors import InputError, MachineError
from slideunet.geometry.pixels import Pixels
from slideunet.geometry.tiles import Tile
from slideunet.geometry.windows import read_mirrored
from slideunet.model_json import Ranges, int8_facts
from slideunet.network.architecture.model_folder import load_model
from slideunet.network.architecture.unet import UNet
from slideunet.network.inference.openvino_engine import OpenVINOEngine, in_own_thread
from slideunet.network.inference.quantised import CONVOLUTIONS, layer, origins
from slideunet.slides.normalisation import Normalisation
from slideunet.stores.manifests import write_manifest

Image = tuple[Pixels, Normalisation]
"""Pixels (c, y, x) of a slide and its constants."""

_CROPS, _CORE = 48, 128
_FEWEST = 8
_FOREGROUND = 128
_LEAST_AGREEMENT = 0.95  # The shipped models have 0.976 and 0.995, and lose no AP.
_PLAIN = Normalisation((0.0,), (1.0,))
_REMEDY = "Name more images like those that the model was trained on: in focus, with cells."


def add_calibration(folder: Path, images: Sequence[Image]) -> None:
    """Calibrate the model of a folder and write the ranges into its `model.json`.

    Raises
    ------
    InputError, MachineError
        See `calibrate` and `load_model`.
    """
    network, facts = load_model(folder)
    write_manifest(folder / "model.json", facts | {"int8": calibrate(network, facts["halo"], images)})


def calibrate(network: UNet, halo: int, images: Sequence[Image]) -> dict[str, Any]:
    """Measure the ranges of all layers that int8 quantises.

    Crops without foreground, as the network finds it, are left out: their ranges are too narrow for cells.

    Parameters
    ----------
    network : UNet
    halo : int
        Pixels of context.
    images : sequence of (pixels (c, y, x), Normalisation)
        48 crops are taken, evenly from all of them, at places that depend on nothing else.

    Returns
    -------
    dict
        "ranges" and "sha256" as `int8_facts` gives them; "agreement", the Dice of the foreground in int8 and
        in fp32; "crops", their number; "nncf", the version.

    Raises
    ------
    InputError
        When fewer than 8 crops have foreground, or int8 and fp32 agree less than 0.95.
    MachineError
        When NNCF is not installed.
    """
    if importlib.util.find_spec("nncf") is None:
        raise MachineError(
            "Calibrating for int8 needs NNCF, not part of the workflow's environment. "
            "Install with: pip install nncf"
        )
    exact = OpenVINOEngine(network, "fp32", 1, halo)
    pairs = [(crop, found) for crop in _crops(images, halo) if (found := _foreground(exact, crop)).any()]
    if len(pairs) < _FEWEST:
        raise InputError(
            f"Calibration needs {_FEWEST} crops in which the model finds cells, and {len(pairs)} of {_CROPS} "
            f"have some. {_REMEDY}"
        )
    ranges = in_own_thread(_measure, exact, [crop for crop, _ in pairs])
    rounded = OpenVINOEngine(network, "int8", 1, halo, ranges)
    agreement = _dice([(_foreground(rounded, crop), found) for crop, found in pairs])
    if agreement < _LEAST_AGREEMENT:
        raise InputError(
            f"In int8 and fp32 the model's foreground agrees to {agreement:.3f} (Dice), less than "
            f"{_LEAST_AGREEMENT}: int8 would change the cells. {_REMEDY}"
        )
    logging.info(f"Calibrated for int8 with {len(pairs)} crops, which agree to {agreement:.4f} (Dice)")
    return int8_facts(ranges) | {
        "agreement": round(agreement, 4),
        "crops": len(pairs),
        "nncf": importlib.metadata.version("nncf"),
    }


def _crops(images: Sequence[Image], halo: int) -> Iterator[Tile]:
    """Yield normalised crops with their context."""
    rng = np.random.default_rng(0)
    for number in range(_CROPS if images else 0):
        pixels, constants = images[number * len(images) // _CROPS]
        starts = [int(rng.integers(0, max(side - _CORE, 0) + 1)) - halo for side in pixels.shape[1:]]
        rows, columns = ((start, start + _CORE + 2 * halo) for start in starts)
        core = (halo, halo + _CORE)
        yield Tile(constants.apply(read_mirrored(pixels, (rows, columns))), (core, core))


def _foreground(engine: OpenVINOEngine, crop: Tile) -> np.ndarray:
    (maps,) = engine.predict([crop], _PLAIN)
    return maps[0] >= _FOREGROUND


def _dice(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    both = sum(int((one & other).sum()) for one, other in pairs)
    return 2 * both / max(sum(int(one.sum()) + int(other.sum()) for one, other in pairs), 1)


def _measure(engine: OpenVINOEngine, crops: Sequence[Tile]) -> Ranges:
    """Return the ranges that NNCF gives the inputs of convolutions.

    Left out: everything else, the convolutions of the image and the head, which are few and whose rounding
    shows most.
    """
    os.environ.setdefault("NNCF_CI", "1")  # Without it NNCF sends usage statistics to Intel.
    import nncf

    nncf.set_log_level(logging.WARNING)
    graph, channels = engine.graph(), engine.spec.channels
    kept = [node.get_friendly_name() for node in graph.get_ordered_ops() if _is_inner(node, channels)]
    others = [
        node.get_friendly_name() for node in graph.get_ordered_ops() if node.get_friendly_name() not in kept
    ]
    quantised = nncf.quantize(
        graph,
        nncf.Dataset([engine.inputs(crop, _PLAIN) for crop in crops]),
        subset_size=len(crops),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=nncf.IgnoredScope(names=others, validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            disable_bias_correction=True,
            activations_quantization_params=nncf.quantization.advanced_parameters.QuantizationParameters(
                per_channel=False
            ),
        ),
    )
    nodes = [node for node in quantised.get_ordered_ops() if node.get_friendly_name() in kept]
    return {layer(node): _range(node) for node in nodes}


def _is_inner(node: openvino.Node, channels: int) -> bool:
    if node.get_type_name() not in CONVOLUTIONS or layer(node).endswith("head"):
        return False
    return node.get_type_name() == "GroupConvolution" or node.input_value(1).get_shape()[1] != channels


def _range(node: openvino.Node) -> tuple[float, float]:
    """Return the range of the input of a quantised convolution, in the shortest digits of float32."""
    for value in origins(node.input_value(0)):
        made = value.get_node()
        if made.get_type_name() == "FakeQuantize":
            low, high = (made.input_value(port).get_node().get_data().ravel()[0] for port in (1, 2))
            return float(str(low)), float(str(high))
    raise ValueError(f"NNCF did not quantise the input of {node.get_friendly_name()}")
