import json
import zipfile

import numpy as np
import pytest

from slideunet.errors import DamagedDataError, InputError
from slideunet.network.in_memory.archive import Entry, PackedImage, read_archive, read_index, write_archive


def noise(channels, seed, kind):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (channels, 37, 53), np.uint8)
    labels = rng.choice(np.array([0, 1, 255, 256, 257, 40_000, 65_534, 65_535], np.uint16), (37, 53))
    return PackedImage(Entry(f"N{seed}", "S", "g", "s", kind, "train", True, "CC0", "c"), image, labels)


@pytest.mark.parametrize(("channels", "kind"), [(1, "fluorescence"), (3, "brightfield")])
def test_labels_always_and_images_without_a_quality_come_back_as_they_were(channels, kind, tmp_path):
    images = [noise(channels, seed, kind) for seed in range(3)]
    write_archive(tmp_path / "a.zip", [(image, None) for image in images])
    for before, after in zip(images, read_archive(tmp_path / "a.zip", kind), strict=True):
        assert after.entry == before.entry
        assert after.image.dtype == np.uint8
        assert np.array_equal(after.image, before.image)
        assert after.labels.dtype == np.uint16
        assert np.array_equal(after.labels, before.labels)


def test_with_a_quality_images_are_near_and_labels_exact(draw_image, tmp_path):
    image = draw_image(0, channels=3)
    write_archive(tmp_path / "a.zip", [(image, 95)])
    (after,) = read_archive(tmp_path / "a.zip", "brightfield")
    assert np.array_equal(after.labels, image.labels)
    assert 0 < np.abs(after.image.astype(int) - image.image).mean() < 6


def test_the_same_images_give_the_same_bytes(draw_image, tmp_path):
    for name in ("a.zip", "b.zip"):
        write_archive(tmp_path / name, [(draw_image(seed), 95) for seed in range(2)])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_is_not_there_or_not_whole_is_named(draw_image, tmp_path):
    path = tmp_path / "a.zip"
    with pytest.raises(InputError, match="no such file"):
        read_index(path)
    write_archive(path, [(draw_image(0), 95)])
    with pytest.raises(InputError, match="kind brightfield"):
        read_archive(path, "brightfield")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedDataError, match="is an incomplete archive"):
        read_index(path)
    damaged = bytearray(whole)
    damaged[200:260] = bytes(60)
    path.write_bytes(damaged)
    with pytest.raises(DamagedDataError, match="A0 cannot be read"):
        read_archive(path, "fluorescence")


def test_an_archive_of_the_first_format_is_read_and_one_of_a_later_refused(draw_image, tmp_path):
    write_archive(tmp_path / "a.zip", [(draw_image(0), None)])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    index = json.loads(files["index.json"])
    index["images"][0]["judged"] = index["images"][0].pop("for_validation")
    for number in (1, 3):
        text = json.dumps(index | {"format": number})
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            for name, data in (files | {"index.json": text}).items():
                archive.writestr(name, data)
    (before,), (after,) = (read_archive(tmp_path / name, "fluorescence") for name in ("a.zip", "1.zip"))
    assert after.entry == before.entry
    with pytest.raises(InputError, match=r"has format 3, this version reads 2\. Pack it again"):
        read_index(tmp_path / "3.zip")
