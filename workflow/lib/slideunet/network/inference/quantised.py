"""A graph of OpenVINO whose convolutions multiply 8-bit integers: same weights, plus one range per tensor.

Each convolution gets a FakeQuantize node on its input and one on its weights; OpenVINO computes the three as
integers. Transposed convolutions stay in float32: without VNNI they are slower as integers.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import openvino
from openvino import opset13 as ops

from slideunet.errors import InputError
from slideunet.model_json import Ranges

CONVOLUTIONS = ("Convolution", "GroupConvolution")
_LEVELS = 256
# Seven bits: without VNNI, two products of a byte and a full weight exceed the 16 bits that hold their sum.
_WEIGHT_MOST = 63
_WEIGHT_LEVELS, _WEIGHT_GRID = 255, 127
# Rounding before them gives the same as after them, and is done while the value is computed.
_MOVES = ("Pad", "Slice", "MaxPool")


def quantise(graph: openvino.Model, ranges: Ranges) -> None:
    """Let the convolutions of a graph compute in 8-bit integers, in place.

    Parameters
    ----------
    graph : openvino.Model
        Made by `openvino_engine` from a network.
    ranges : mapping
        Name of a convolution (`layer`) to the smallest and largest value of its input. Others stay float32.

    Raises
    ------
    InputError
        When the ranges are those of another architecture.
    """
    found = {layer(node): node for node in graph.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS}
    if unknown := sorted(set(ranges) - set(found)):
        raise InputError(
            f"The ranges for int8 in model.json name layers that the model lacks ({', '.join(unknown[:3])}). "
            "They are those of another architecture or version. Calibrate the model again: make calibrate."
        )
    for source, nodes in _by_source([found[name] for name in ranges]).values():
        span = _widest([ranges[layer(node)] for node in nodes])
        low, high = (ops.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in span)
        rounded = ops.fake_quantize(source, low, high, low, high, _LEVELS).output(0)
        for node in nodes:
            _entrance(node).replace_source_output(rounded)
            node.input(1).replace_source_output(_weights(node.input_value(1)))
    graph.validate_nodes_and_infer_types()


def layer(node: openvino.Node) -> str:
    """Return the name of a convolution in the network, such as "decoder.3.0"."""
    return node.get_friendly_name().split("/")[0].removeprefix("__module.network.")


def origins(value: openvino.Output) -> Iterator[openvino.Output]:
    """Yield a value, and what it is cropped, padded or pooled from, up to what a layer computes."""
    yield value
    while value.get_node().get_type_name() in _MOVES:
        value = value.get_node().input_value(0)
        yield value


def _widest(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the range of an input that convolutions share; zero stays one of its 256 values."""
    high = max(high for _, high in spans)
    return min(0.0, *(low * high / top for low, top in spans)), high


def _by_source(
    nodes: Sequence[openvino.Node],
) -> dict[tuple[str, int], tuple[openvino.Output, list[openvino.Node]]]:
    """Group convolutions by the value that their input is or is made from; see `origins`."""
    groups: dict[tuple[str, int], tuple[openvino.Output, list[openvino.Node]]] = {}
    for node in nodes:
        source = _entrance(node).get_source_output()
        key = (source.get_node().get_friendly_name(), source.get_index())
        groups.setdefault(key, (source, []))[1].append(node)
    return groups


def _entrance(node: openvino.Node) -> openvino.Input:
    """Return where the input of a convolution is quantised: before cropping, padding and pooling."""
    *moves, _ = origins(node.input_value(0))
    return moves[-1].get_node().input(0) if moves else node.input(0)


def _weights(value: openvino.Output) -> openvino.Output:
    """Return weights rounded to integers of 7 bits times a factor per output map."""
    constant = value.get_node()
    while constant.get_type_name() != "Constant":  # The weights of depthwise convolutions are reshaped.
        constant = constant.input_value(0).get_node()
    weights = constant.get_data().reshape(value.get_shape()).astype(np.float32)
    maps = tuple(range(1, weights.ndim)) if weights.ndim == 4 else tuple(range(2, weights.ndim))
    most = np.maximum(np.abs(weights).max(axis=maps, keepdims=True), np.finfo(np.float32).tiny)
    limit = most * np.float32(_WEIGHT_GRID / _WEIGHT_MOST)
    low, high = ops.constant(-limit), ops.constant(limit)
    return ops.fake_quantize(ops.constant(weights), low, high, low, high, _WEIGHT_LEVELS).output(0)
