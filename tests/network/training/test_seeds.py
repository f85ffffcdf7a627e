import numpy as np
import pytest

from slideunet.geometry.tiles import Tile
from slideunet.model_json import int8_facts, int8_ranges
from slideunet.network.architecture.ensemble import Ensemble
from slideunet.network.inference.openvino_engine import OpenVINOEngine
from slideunet.network.training.seeds import _joined_ranges
from slideunet.slides.normalisation import Normalisation

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_ensemble_has_the_ranges_of_its_members(random_network, ranges_for):
    members = [random_network(seed, width=8) for seed in range(2)]
    for network in members:
        network.head.weight.data /= 5
    facts = [{"int8": int8_facts(ranges_for(network))} for network in members]
    ranges = int8_ranges(_joined_ranges(facts))
    assert len(ranges) == 2 * len(facts[0]["int8"]["ranges"])
    tile = Tile(np.random.default_rng(0).random((1, 112, 120), np.float32), ((24, 88), (24, 96)))
    exact, rounded = (
        next(engine.predict([tile], Normalisation((0.0,), (1.0,)))).astype(int)
        for engine in (
            OpenVINOEngine(Ensemble(members), "fp32", 1, 24),
            OpenVINOEngine(Ensemble(members), "int8", 1, 24, ranges),
        )
    )
    assert exact.std() > 10
    assert 0 < np.abs(exact - rounded).mean() < 0.2 * exact.std()


def test_an_ensemble_of_a_member_without_ranges_has_none():
    assert _joined_ranges([{"int8": int8_facts({"head": (0.0, 1.0)})}, {}]) == {}
