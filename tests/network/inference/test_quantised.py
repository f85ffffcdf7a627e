import functools

import numpy as np
import openvino
import pytest
import torch

from slideunet.errors import InputError
from slideunet.geometry.tiles import Tile
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.inference.openvino_engine import OpenVINOEngine, in_own_thread
from slideunet.network.inference.quantised import CONVOLUTIONS, layer, origins, quantise
from slideunet.slides.normalisation import Normalisation

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

PLAIN = Normalisation((0.0,), (1.0,))


@pytest.fixture(scope="module", params=[1, 2])
def network(request, random_network):
    return random_network(
        width=8, depth=2, encoder="efficientnet_lite0", heads=["distance"], head_stride=request.param
    )


@functools.lru_cache
def graph_of(network):
    return OpenVINOEngine(network, "fp32", 1, halo(network.spec)).graph()


def convolutions(graph):
    return {layer(node): node for node in graph.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS}


def computed(graph, tile, **properties):
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1} | properties
    compiled = in_own_thread(openvino.Core().compile_model, graph, "CPU", settings)
    return compiled, compiled(tile)[0]


def draw(network, core=64):
    """Return the inputs of the graph for a tile."""
    context = halo(network.spec)
    side, part = core + 2 * context, (context, context + core)
    pixels = np.random.default_rng(0).random((network.spec.channels, side, side), np.float32)
    return OpenVINOEngine(network, "fp32", 1, context).inputs(Tile(pixels, (part, part)), PLAIN)


def test_integers_give_what_rounded_floats_give(network, ranges_for):
    """The oracle: the same graph with rounding in float32, every product exact to 24 bits."""
    graph = graph_of(network).clone()
    quantise(graph, ranges_for(network))
    tile = draw(network)
    _, found = computed(graph, tile)
    _, rounded = computed(graph, tile, LP_TRANSFORMS_MODE=False)
    _, exact = computed(graph_of(network), tile)
    assert exact[0, 0].std() > 10
    difference = np.abs(found.astype(int) - rounded)
    # A value halfway between two integers is rounded to either.
    assert difference.mean() < 0.1 * np.abs(exact.astype(int) - rounded).mean()
    assert np.mean(difference > 2) < 0.01


def test_every_layer_with_a_range_multiplies_integers(network, ranges_for):
    graph, ranges = graph_of(network).clone(), ranges_for(network)
    quantise(graph, ranges)
    compiled, _ = computed(graph, draw(network))
    kinds = {
        layer(node): node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ordered_ops()
        if node.get_rt_info()["layerType"].astype(str) in CONVOLUTIONS
    }
    assert set(ranges) < set(kinds)
    assert {kinds[name] for name in ranges} <= {"i8", "u8"}
    assert {kinds[name] for name in set(kinds) - set(ranges)} == {"f32"}


def test_weights_have_seven_bits_of_their_largest_in_each_map(network, ranges_for):
    graph, ranges = graph_of(network).clone(), ranges_for(network)
    before = {name: weights(node) for name, node in convolutions(graph).items()}
    quantise(graph, ranges)
    for name, node in convolutions(graph).items():
        rounded = weights(node)
        if name not in ranges:
            np.testing.assert_array_equal(rounded, before[name])
            continue
        rows, exact = rounded.reshape(-1, *rounded.shape[-3:]), before[name].reshape(-1, *rounded.shape[-3:])
        step = np.abs(exact).max(axis=(1, 2, 3), keepdims=True) / 63
        assert np.abs(rows / step - np.rint(exact / step)).max() < 1e-3
        assert np.abs(rows / step).max() < 63.01


def weights(node):
    value = node.input_value(1)
    model = openvino.Model([openvino.opset13.result(value)], [], "weights")
    return in_own_thread(openvino.Core().compile_model, model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        []
    )[0]


def test_layers_that_share_an_input_share_its_widest_range(random_network, ranges_for):
    """The skip connection and the next level of the encoder."""
    network = random_network(width=8, depth=2)
    graph, ranges = graph_of(network).clone(), ranges_for(network)
    users = {}
    for name, node in convolutions(graph).items():
        *_, source = origins(node.input_value(0))
        users.setdefault(source.get_node().get_friendly_name(), []).append(name)
    shared = max(users.values(), key=len)
    assert len(shared) > 1
    for number, name in enumerate(shared, start=1):
        ranges[name] = (0.0, float(number))
    quantise(graph, ranges)
    nodes = convolutions(graph)
    highest = set()
    for name in shared:
        (made,) = (
            value.get_node()
            for value in origins(nodes[name].input_value(0))
            if value.get_node().get_type_name() == "FakeQuantize"
        )
        highest.add(made.input_value(2).get_node().get_data().item())
    assert highest == {float(len(shared))}


def test_ranges_of_another_architecture_are_refused(network):
    with pytest.raises(InputError, match=r"layers that the model lacks \(encoder\.absent\).*make calibrate"):
        quantise(graph_of(network).clone(), {"encoder.absent": (0.0, 1.0)})


def test_maps_without_weights_stay_zero(random_network, ranges_for):
    network = random_network(width=8)
    with torch.no_grad():
        network.decoder[1][3].weight[0] = 0
    graph = graph_of(network).clone()
    quantise(graph, ranges_for(network))
    assert np.isfinite(weights(convolutions(graph)["decoder.1.3"])).all()
