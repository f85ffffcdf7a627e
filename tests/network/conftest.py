import numpy as np
import pytest
from scipy.special import expit


@pytest.fixture(scope="session")
def to_uint8():
    """Turn logits into probabilities as uint8, round(255 p), in the plainest way."""
    return lambda logits: np.rint(255.0 * expit(logits.astype(np.float64))).astype(np.uint8)


@pytest.fixture(scope="session")
def ranges_for():
    """Measure ranges for int8 of all convolutions of a network but the first and the last, without NNCF."""
    import openvino

    from slideunet.geometry.tiles import Tile
    from slideunet.network.architecture.receptive_field import halo
    from slideunet.network.inference.openvino_engine import OpenVINOEngine, in_own_thread
    from slideunet.network.inference.quantised import CONVOLUTIONS, layer
    from slideunet.slides.normalisation import Normalisation

    def measure(network):
        context = halo(network.spec)
        engine = OpenVINOEngine(network, "fp32", 1, context)
        graph = engine.graph()
        nodes = [
            node
            for node in graph.get_ordered_ops()
            if node.get_type_name() in CONVOLUTIONS
            and not layer(node).endswith("head")
            and node.input_value(1).get_shape()[1:2] != [network.spec.channels]
        ]
        watched = openvino.Model([node.input_value(0) for node in nodes], graph.get_parameters(), "watched")
        side, core = 2 * context + 64, (context, context + 64)
        pixels = np.random.default_rng(1).random((network.spec.channels, side, side), np.float32)
        plain = Normalisation((0.0,) * network.spec.channels, (1.0,) * network.spec.channels)
        values = in_own_thread(openvino.Core().compile_model, watched, "CPU")(
            engine.inputs(Tile(pixels, (core, core)), plain)
        )
        ranges = {}
        for index, node in enumerate(nodes):
            low, high = float(values[index].min()), float(np.abs(values[index]).max())
            ranges[layer(node)] = (0.0, high) if low >= 0 else (-high * 128 / 127, high)
        return ranges

    return measure
