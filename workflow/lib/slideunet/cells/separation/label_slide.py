"""The label image of a slide's cells: separated block by block, then numbered, in memory that has a bound.

labels/.cells.3f2a….partial    being made; the name holds what it depends on
raw                        the blocks, each with numbers of its own
tables/7.npz               who is who in block 7; a block that has its table is done
cells                      the blocks with the ids of the slide
"""

import functools
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from slideunet import __version__
from slideunet.cells.separation import label_block as label_block_module
from slideunet.cells.separation.decoding import NEEDED, Decoding
from slideunet.cells.separation.numbering import check_count
from slideunet.cells.separation.separate import SEPARATION_VERSION, Maps
from slideunet.clusters import work_through
from slideunet.geometry.blocks import block_at, block_count, digest
from slideunet.logs import progress_line
from slideunet.stores import files, manifests, omezarr, verified
from slideunet.stores.fingerprint import fingerprint as digest_of
from slideunet.stores.locks import locked
from slideunet.stores.ngff_metadata import Version


@dataclass(frozen=True)
class Task:
    """What a worker needs to separate or number a block: paths and plain values."""

    prediction: Path
    folder: Path
    decoding: Decoding


def cells_fingerprint(prediction: Mapping[str, Any], decoding: Decoding, version: str) -> str:
    """Return the digest of all that the cells of a prediction, given by its manifest, depend on."""
    return digest_of(
        prediction=prediction["fingerprint"],
        code=[__version__, SEPARATION_VERSION],
        version=version,
        **asdict(decoding),
    )


def label_slide(
    prediction: Path,
    fingerprint: str,
    *,
    decoding: Decoding,
    version: Version,
    client: Client | None = None,
) -> dict[str, Any]:
    """Write `labels/cells` of one prediction and put its facts into the manifest.

    Parameters
    ----------
    prediction : Path
        Manifest of the prediction.
    fingerprint : str
        Of all that the cells depend on; an interrupted labelling with the same one goes on.
    decoding : Decoding
    version : "0.5" or "0.4"
        Of OME-Zarr.
    client : distributed.Client, optional
        Whose workers do it; without one this process does.

    Returns
    -------
    dict
        The facts: besides the decoding, n_cells; `first_ids` (of each block); `reach`, the pixels that a
        cell may extend beyond the block of its centre; `unfinished`, see `blockwise.BlockCells`.
    """
    known = manifests.read_manifest(prediction)
    shape = tuple(known["shape"][1:])
    with locked(prediction.with_name(f".{prediction.stem}@cells.lock")):
        folder = _begin(prediction, fingerprint, shape, known["mpp"], version)
        # Workers may have another working directory.
        folder = folder.absolute()
        task = Task(prediction.absolute(), folder, decoding)
        todo = [index for index in range(block_count(shape)) if not _table(folder, index).is_file()]
        with progress_line(len(todo), unit="block", label=prediction.stem) as bar:
            for _ in work_through(client, todo, functools.partial(separate_block, task)):
                bar.update()
        facts = _number(folder, shape)
        digests = dict(
            work_through(
                client,
                range(block_count(shape)),
                functools.partial(number_block, folder, shape),
            )
        )
        omezarr.finish_levels(folder / "cells")
        facts |= {"fingerprint": fingerprint} | asdict(decoding)
        facts["blocks"] = [digests[index] for index in sorted(digests)]
        verified.replace_labels(prediction, "cells", folder / "cells", facts)
        shutil.rmtree(folder)
    return facts


def separate_block(task: Task, index: int) -> None:
    """Separate the cells of one block and keep them under numbers of the block's own."""
    maps = _open(task.prediction, task.folder, NEEDED[task.decoding.method])
    found = label_block_module.label_block(maps, index, task.decoding)
    levels = omezarr.open_levels(task.folder / "raw", "r+")
    omezarr.write_block(levels, block_at(maps.shape, index), found.labels)
    table = {"keys": found.keys, "boxes": found.boxes, "unfinished": np.array(found.unfinished)}
    files.write_atomically(_table(task.folder, index), _packed(table))


def number_block(folder: Path, shape: tuple[int, int], index: int) -> str:
    """Give the cells of one block their ids in the slide, write them and return the block's digest."""
    keys = _read(folder, index)["keys"]
    ordered = {int(block): np.load(_ordered(folder, block)) for block in np.unique(keys[:, 0])}
    ids = label_block_module.ids_of_cells(keys, ordered, np.load(folder / "first_ids.npy"))
    region = block_at(shape, index)
    local = np.asarray(omezarr.open_level(folder / "raw", 0)[region])
    labels = np.concatenate([[0], ids]).astype(np.uint32)[local]
    omezarr.write_block(omezarr.open_levels(folder / "cells", "r+"), region, labels)
    return digest(labels)


# Opening looks for every chunk: once per process and slide. The folder's name tells what is labelled.
@functools.lru_cache(maxsize=1)
def _open(prediction: Path, folder: Path, needed: Sequence[str]) -> "_Maps":
    foreground = verified.open_image_store(prediction)
    if not needed:
        return _Maps(foreground, None, {})
    names = manifests.read_manifest(prediction)["maps"]["names"]
    return _Maps(
        foreground, verified.open_maps_store(prediction), {name: names.index(name) for name in needed}
    )


@dataclass(frozen=True)
class _Maps:
    """The maps of a stored prediction; see `blockwise.SlideMaps`.

    Attributes
    ----------
    foreground : StoredPixels (1, y, x)
    others : StoredPixels (maps, y, x), or None
    channels : dict
        Name of each map that is read of the others, to its channel.
    """

    foreground: verified.StoredPixels
    others: verified.StoredPixels | None
    channels: Mapping[str, int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.foreground.shape[1], self.foreground.shape[2]

    def __getitem__(self, window: tuple[slice, slice]) -> Maps:
        found = {"foreground": self.foreground[(slice(None), *window)][0]}
        if self.others is not None:
            others = self.others[(slice(None), *window)]
            found |= {name: others[channel] for name, channel in self.channels.items()}
        return found


def _begin(
    prediction: Path, fingerprint: str, shape: tuple[int, int], mpp: float | None, version: Version
) -> Path:
    labels = manifests.store_path(prediction) / "labels"
    folder = labels / f".cells.{fingerprint[:16]}.partial"
    for other in labels.glob(".cells.*.partial"):
        if other != folder:
            shutil.rmtree(other)
    # Numbering is quick and is done again; the tables say which blocks are separated.
    shutil.rmtree(folder / "cells", ignore_errors=True)
    omezarr.create_labels(folder / "cells", shape, mpp=mpp, version=version, name="cells")
    if not (folder / "tables").is_dir():
        shutil.rmtree(folder / "raw", ignore_errors=True)
        omezarr.create_labels(folder / "raw", shape, mpp=None, version=version, levels=1)
        (folder / "tables").mkdir()
    return folder


def _number(folder: Path, shape: tuple[int, int]) -> dict[str, Any]:
    """Order the cells of every block, from what it and its neighbours saw, and count."""
    counts, reach, unfinished = [], 0, 0
    for index in range(block_count(shape)):
        around = [_read(folder, block)["keys"] for block in label_block_module.neighbours(shape, index)]
        ordered = label_block_module.keys_of_block(around, index)
        np.save(_ordered(folder, index), ordered)
        counts.append(len(ordered))
        own = _read(folder, index)
        reach = max(reach, _reach(own, shape, index))
        unfinished += int(own["unfinished"])
    n_cells = sum(counts)
    check_count(n_cells)
    first = np.concatenate([[0], np.cumsum(counts[:-1], dtype=np.int64)]) + 1
    np.save(folder / "first_ids.npy", first)
    return {"n_cells": n_cells, "first_ids": first.tolist(), "reach": reach, "unfinished": unfinished}


def _reach(table: Mapping[str, np.ndarray], shape: tuple[int, int], index: int) -> int:
    """Return how far the cells of a block extend beyond it, in pixels."""
    boxes = table["boxes"][table["keys"][:, 0] == index]
    if not len(boxes):
        return 0
    rows, columns = block_at(shape, index)
    before = np.array([rows.start, columns.start]) - boxes[:, :2]
    after = boxes[:, 2:] - np.array([rows.stop, columns.stop])
    return max(int(before.max()), int(after.max()), 0)


def _table(folder: Path, index: int) -> Path:
    return folder / "tables" / f"{index}.npz"


def _ordered(folder: Path, index: int) -> Path:
    return folder / "tables" / f"{index}.npy"


def _read(folder: Path, index: int) -> Mapping[str, np.ndarray]:
    return np.load(_table(folder, index))


def _packed(table: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **table)
    return buffer.getvalue()
