import numpy as np
import pytest

from slideunet.network.patches.empty_fields import empty_field


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 50, 60), (3, 80, 80)])
def test_a_field_is_stretched_by_its_own_percentiles(shape):
    """As a slide of its own would be; of those of colour some are glass, which is stretched less far."""
    contrasts = []
    for seed in range(40):
        field = empty_field(shape, np.random.default_rng(seed))
        assert (field.shape, field.dtype) == (shape, np.float32)
        low, high = np.percentile(field, (1, 99.8), axis=(1, 2))
        contrasts.append((high - low).max())
    full = np.isclose(contrasts, 1, atol=1e-5)
    assert full.all() if shape[0] < 3 else 20 <= full.sum() <= 36
    assert shape[0] < 3 or sum(contrast < 0.5 for contrast in contrasts) > 5


def test_the_same_random_numbers_draw_the_same_field():
    fields = [empty_field((3, 40, 40), np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(*fields)


def test_some_fields_of_colour_are_nearly_grey():
    def alike(seed):
        field = empty_field((3, 64, 64), np.random.default_rng(seed))
        ranks = field.reshape(3, -1).argsort(axis=1).argsort(axis=1)  # of bright pixels too
        return np.corrcoef(ranks)[0, 1]

    grey = [alike(seed) > 0.4 for seed in range(40)]
    assert 10 < sum(grey) < 34
