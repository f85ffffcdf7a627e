"""Archive of images and labels of many sources: one zip file of pictures with an index."""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from slideunet.errors import DamagedDataError, InputError

PACKED_IGNORE_LABEL = 65535
"""Ignore label of the packed label images."""
FORMAT = 2
_INDEX = "index.json"


@dataclass(frozen=True)
class Entry:
    """Metadata of an image.

    Attributes
    ----------
    name, source, group, stratum : str
        The source is the data set; groups and strata are parts of it.
    kind : "fluorescence" or "brightfield"
        Kind of model that it is for.
    split : "train" or "val"
    for_validation : bool
        Whether the labels are good enough for scoring, so that the image may be used for validation.
    licence : str
    content : str
        Sha256 of the pixels before packing; see `slides.statistics.content`.
    """

    name: str
    source: str
    group: str
    stratum: str
    kind: str
    split: str
    for_validation: bool
    licence: str
    content: str


@dataclass(frozen=True)
class PackedImage:
    """An image (c, y, x) of uint8 with instance labels (y, x) of uint16, 0 = background."""

    entry: Entry
    image: np.ndarray
    labels: np.ndarray


def write_archive(path: Path, images: Iterable[tuple[PackedImage, int | None]]) -> None:
    """Write an archive; the same images give the same bytes.

    Parameters
    ----------
    path : Path
    images : iterable of (PackedImage, int or None)
        Images with their JPEG quality (colour at full resolution); None is lossless. Labels are always
        lossless.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    index = []
    with zipfile.ZipFile(path, "w") as archive:
        for number, (packed, quality) in enumerate(images):
            names = {
                "image": f"images/{number:05d}.{'webp' if quality is None else 'jpg'}",
                "labels": f"labels/{number:05d}.webp",
            }
            _add(archive, names["image"], _image_bytes(packed.image, quality))
            _add(archive, names["labels"], _label_bytes(packed.labels))
            index.append(asdict(packed.entry) | names)
        _add(archive, _INDEX, json.dumps({"format": FORMAT, "images": index}, indent=1).encode())


def read_index(path: Path) -> list[dict[str, Any]]:
    """Return the fields of every `Entry` of an archive, with "image" and "labels", names inside it.

    Raises
    ------
    InputError
        When there is no such archive.
    DamagedDataError
        When it is not complete.
    """
    with _opened(path) as archive:
        return _index(archive, path)


def read_archive(path: Path, kind: str) -> list[PackedImage]:
    """Read all images of a kind; raises as `read_index`, and InputError when there is none."""
    with _opened(path) as archive:
        rows = [row for row in _index(archive, path) if row["kind"] == kind]
        if not rows:
            raise InputError(f"{path} has no image for a model of the kind {kind}. Pack some, see pack.py.")
        return [_unpacked(archive, row, path) for row in rows]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file. Write it by resources/models/pack.py.") from error
    except zipfile.BadZipFile as error:
        raise DamagedDataError(
            f"{path} is an incomplete archive ({error}). Copy or pack it again."
        ) from error


def _index(archive: zipfile.ZipFile, path: Path) -> list[dict[str, Any]]:
    try:
        index = json.loads(archive.read(_INDEX))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DamagedDataError(f"{path} has no readable index ({error}). Pack it again.") from error
    if index["format"] == 1:
        # The same, but for one name.
        return [row | {"for_validation": row["judged"]} for row in index["images"]]
    if index["format"] != FORMAT:
        raise InputError(f"{path} has format {index['format']}, this version reads {FORMAT}. Pack it again.")
    return index["images"]


def _unpacked(archive: zipfile.ZipFile, row: Mapping[str, Any], path: Path) -> PackedImage:
    entry = Entry(**{name: row[name] for name in Entry.__annotations__})
    try:
        pixels, labels = (_pixels(archive.read(row[part])) for part in ("image", "labels"))
    except (KeyError, OSError, UnidentifiedImageError, zipfile.BadZipFile) as error:
        raise DamagedDataError(f"{path}: {entry.name} cannot be read ({error}). Pack it again.") from error
    image = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    # Labels are a lossless picture of three channels: low byte, high byte, 0.
    return PackedImage(
        entry, image[: _channels(entry)], labels[..., 0] + 256 * labels[..., 1].astype(np.uint16)
    )


def _channels(entry: Entry) -> int:
    return 1 if entry.kind == "fluorescence" else 3


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def _image_bytes(image: np.ndarray, quality: int | None) -> bytes:
    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    if quality is None:
        return _saved(picture, format="WEBP", lossless=True, quality=100, method=4, exact=True)
    return _saved(picture, format="JPEG", quality=quality, subsampling=0, optimize=True)


def _label_bytes(labels: np.ndarray) -> bytes:
    low, high = (labels & 255).astype(np.uint8), (labels >> 8).astype(np.uint8)
    picture = Image.fromarray(np.stack([low, high, np.zeros_like(low)], axis=-1))
    return _saved(picture, format="WEBP", lossless=True, quality=100, method=4, exact=True)


def _saved(picture: Image.Image, **options: Any) -> bytes:  # noqa: ANN401 (whatever Pillow takes)
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a file without its time."""
    archive.writestr(zipfile.ZipInfo(name), data)
