import pytest

from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import PRESETS, UNetSpec
from slideunet.network.inference.tile_size import best_tile, peak_bytes, work_per_pixel

LIGHT = UNetSpec(1, **PRESETS["light"])


def test_context_costs_less_the_larger_the_tile():
    bare = work_per_pixel(LIGHT, 2**20, 0)
    shares = [work_per_pixel(LIGHT, tile, 96) / bare for tile in (256, 512, 1024, 2048, 4096)]
    assert shares == pytest.approx([1.91, 1.40, 1.19, 1.09, 1.04], abs=0.005)
    # Cropping the whole network, and not its decoder only, would cost ((tile + 2 halo) / tile)^2.
    assert shares[2] < (1216 / 1024) ** 2 - 0.2


@pytest.mark.parametrize("preset", PRESETS)
def test_the_best_tile_is_where_doubling_saves_little(preset):
    spec = UNetSpec(3, **PRESETS[preset])
    reach = halo(spec)
    tile = best_tile(spec, reach, "bf16", memory=10**11)
    work = [work_per_pixel(spec, side, reach) for side in (tile // 2, tile, 2 * tile)]
    assert work[1] < 0.95 * work[0]
    assert work[2] > 0.95 * work[1]
    assert tile == {"light": 2048, "standard": 2048, "classic": 512}[preset]
    usual = best_tile(spec, reach, "bf16")
    assert usual == {"light": 2048, "standard": 1024, "classic": 512}[preset]


@pytest.mark.parametrize(("memory", "tile"), [(10**9, 2048), (9 * 10**8, 1024), (200 * 10**6, 512), (1, 256)])
def test_the_best_tile_fits_into_memory(memory, tile):
    assert best_tile(LIGHT, 96, "bf16", memory) == tile
    assert tile == 256 or peak_bytes(LIGHT, tile, 96, "bf16") <= memory
    assert tile == 2048 or peak_bytes(LIGHT, 2 * tile, 96, "bf16") > memory
    assert peak_bytes(LIGHT, tile, 96, "fp32") == 2 * peak_bytes(LIGHT, tile, 96, "bf16")
