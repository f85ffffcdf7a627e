import base64
import io

import numpy as np
import pytest
from PIL import Image

from slideunet.figures.encoding import THUMBNAIL, WHOLE_BYTES, beside_page, in_page


def noise(*size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def decoded(picture):
    kind, data = picture.uri.split(",")
    assert kind == "data:image/webp;base64"
    return base64.b64decode(data)


@pytest.mark.parametrize("budget", [1_000, 10_000, 100_000])
def test_encoding_keeps_to_its_budget(budget):
    picture = in_page(budget)(noise(300, 400), "a")
    data = decoded(picture)
    assert len(data) <= budget
    assert Image.open(io.BytesIO(data)).size == (picture.width, picture.height)
    assert picture.width <= 400
    assert picture.link == ""


def test_no_budget_makes_one_picture_larger_than_the_page_can_bear():
    assert len(decoded(in_page(10**9)(noise(900, 901), "a"))) <= WHOLE_BYTES


@pytest.mark.parametrize("size", [(513, 301), (301, 513), (40, 31)])
def test_a_thumbnail_is_in_the_page_and_the_picture_beside_it(tmp_path, size):
    smooth = np.linspace(0, 255, 3 * size[0] * size[1]).reshape(*size, 3).astype(np.uint8)
    picture = beside_page(tmp_path / "new", "files/new", 5_000)(smooth, "S-1.truth")
    assert picture.link == "files/new/S-1.truth.webp"
    whole = Image.open(tmp_path / "new/S-1.truth.webp")
    assert whole.size == size[::-1]
    small = Image.open(io.BytesIO(decoded(picture)))
    assert small.size == (picture.width, picture.height)
    assert max(small.size) == min(THUMBNAIL, max(size))
    assert abs(small.width / small.height - size[1] / size[0]) < 0.02
    wanted = np.asarray(whole.convert("L").resize(small.size, Image.Resampling.LANCZOS), int)
    assert np.abs(np.asarray(small.convert("L"), int) - wanted).mean() < 6
