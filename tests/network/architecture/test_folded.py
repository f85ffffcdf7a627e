import pytest
import torch

from slideunet.network.architecture.folded import for_inference

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("encoder", [None, "efficientnet_lite0", "resnet18"])
def test_folded_batch_normalisation_gives_the_same_logits(random_network, encoder):
    network = random_network(channels=2, encoder=encoder)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = for_inference(network.train())
    assert not folded.training
    assert network.training
    image = torch.rand(1, 2, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network.eval()(image), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
