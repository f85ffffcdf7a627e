import itertools

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from slideunet.network.architecture.unet import UNetSpec
from slideunet.network.in_memory.pool import build_pool, drawn_negatives
from slideunet.network.in_memory.prepared import prepare
from slideunet.network.in_memory.recipe import AUGMENTATIONS
from slideunet.network.in_memory.stream import BatchMaker, batch_stream

CPU = torch.device("cpu")
MAPS = UNetSpec(3, 4, 2, heads=("distance", "centres")).maps
ALL = dict.fromkeys(AUGMENTATIONS, 0.5) | {"rotation": 180, "elastic": 3}


@pytest.fixture
def maker(draw_image, make_recipe):
    ready = [prepare(draw_image(i, channels=3), "percentile", "bright", 6, True) for i in range(2)]
    recipe = make_recipe(augmentation=ALL, negatives=0.3, channels=["red", "green", "blue"], batch_size=8)
    images = [*ready, *drawn_negatives(3, 2, 0)]
    return lambda: BatchMaker(build_pool(images, CPU), recipe, MAPS)


def test_a_batch_depends_on_its_number_alone(maker):
    make = maker()
    later = list(itertools.islice(batch_stream(make, 2), 2))
    for step, (image, target) in zip((2, 3), later, strict=True):
        again, wanted = make(step)
        assert torch.equal(image, again)
        assert torch.equal(target, wanted)
    assert not torch.equal(later[0][0], later[1][0])
    assert image.shape == (8, 3, 64, 64)
    assert target.shape == (8, len(MAPS) + 2, 64, 64)
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(image).all()
    assert torch.isfinite(target).all()


def test_a_batch_is_made_without_a_question_to_the_device(maker):
    # Tensors without values: whoever asks for one, as `item` does, would stop a GPU, and fails here.
    with FakeTensorMode(allow_non_fake_inputs=True):
        image, target = maker()(0)
        assert image.shape == (8, 3, 64, 64)
        with pytest.raises(DataDependentOutputException):
            target.sum().item()
