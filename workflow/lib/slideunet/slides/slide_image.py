"""The pixels of a converted slide: from its store, or from the user's file where no copy of them is kept.

With `data.keep` without `slides`, conversion reads every pixel once, as ever, and stores the digests of the
blocks and an overview, an eighth of the size. Whoever needs full resolution later decodes the file again, by
the same readers on the same grid, so the pixels are the same; whole blocks are compared with their digests.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slideunet.errors import InputError
from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.pyramid import halved_image
from slideunet.stores.fingerprint import file_identity, file_times, fingerprint
from slideunet.stores.manifests import read_manifest
from slideunet.stores.verified import StoredPixels, open_image_store

if TYPE_CHECKING:
    import dask.array as da  # Half a second of every job, most of which read stores.

_OPEN = 4  # Slides that a process keeps in mind.
_SQUARE = 1024  # Pixels of a coarser level that are made at once.
_REMEDY = "Its image has changed since it was read first, or a decoder was exchanged. Run the workflow again."


def open_slide_image(manifest: Path, level: int = 0) -> StoredPixels:
    """Open one level of the image of a complete slide: (c, y, x).

    Parameters
    ----------
    manifest : Path
    level : int
        Levels that are not stored are made of the pixels of the file.

    Raises
    ------
    InputError
        When the pixels were not kept and the file is gone or another one.
    DamagedDataError
        As `verified.open_image_store`.
    """
    facts = read_manifest(manifest)
    if level >= facts.get("first_level", 0):
        return open_image_store(manifest, level)
    path = Path(facts["source"]["image"])
    lazy = _lazy(path, facts)
    digests = tuple(facts["blocks"]) if level == 0 else ()
    return StoredPixels(SourcePixels(lazy, level), str(path), digests, remedy=_REMEDY)


def identity_of(path: Path) -> str:
    """Return the digest of all files of a slide (`files_of`), whatever their times."""
    from slideunet.readers.companion_files import files_of

    return fingerprint(files=[file_identity(file) for file in files_of(path)])


def image_is_there(facts: Mapping[str, Any]) -> bool:
    """Tell whether the pixels of a slide, given by its manifest, can be read: from its store or its file."""
    return not facts.get("first_level") or Path(facts["source"]["image"]).exists()


@dataclass(frozen=True)
class SourcePixels:
    """A lazy image (c, y, x), of which a coarser level is made where it is read."""

    lazy: "da.Array"
    level: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes on this level."""
        return *self.lazy.shape[:1], *(-(-side >> self.level) for side in self.lazy.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.lazy.dtype

    def __getitem__(self, index: Any, /) -> np.ndarray:  # noqa: ANN401 (whatever dask takes)
        """Decode a part; of a coarser level, all of it is made first."""
        if self.level == 0:
            return _decoded(self.lazy[index])
        whole = np.empty(self.shape, self.dtype)
        for region in BlockGrid(self.shape, _SQUARE):
            finer = (slice(part.start << self.level, part.stop << self.level) for part in region)
            part = _decoded(self.lazy[:, *finer])
            for _ in range(self.level):
                part = halved_image(part)
            whole[:, *region] = part
        return whole[index]


def _decoded(pixels: "da.Array") -> np.ndarray:
    # Blocks are what runs in parallel.
    return np.ascontiguousarray(pixels.compute(scheduler="sync"))


def _lazy(path: Path, facts: Mapping[str, Any]) -> "da.Array":
    if not path.exists():
        raise InputError(
            f"slide {facts['slide']}: {path} is not there, and data.keep does not name slides, so there is "
            "no copy of its pixels. Put the file back and run the same command again."
        )
    reading = facts["source"]["reading"]
    channels = reading["channels"]
    return _opened(
        path,
        file_times(path),
        reading["identity"],
        reading["own_mpp"],
        reading["mpp"],
        tuple(channels) if isinstance(channels, list) else channels,
    )


@functools.lru_cache(maxsize=_OPEN)
def _opened(
    path: Path,
    times: str,
    identity: str,
    own_mpp: float | None,
    mpp: float | None,
    channels: Sequence[int] | str | None,
) -> "da.Array":
    """Open a file once per process and version, and check that it is the one that was converted."""
    from slideunet.readers.open_source import choose_channels
    from slideunet.readers.working_resolution import open_at

    del times
    if identity_of(path) != identity:
        raise InputError(f"{path}: {_REMEDY}")
    source, _ = open_at(path, own_mpp=own_mpp, working_mpp=mpp)
    return choose_channels(source, list(channels) if isinstance(channels, tuple) else channels).pixels
