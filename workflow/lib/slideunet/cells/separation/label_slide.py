"""The label image of a slide's cells: separated block by block, then numbered, in memory that has a bound.

labels/.cells.3f2a….partial    unfinished work, see `stores.resumable`
7.runs.npy                     the pixels of block 7's cells, with numbers of its own
7.keys.npy                     which cells block 7 sees
7.ordered.npy                  the cells of block 7 in the order of their ids
cells                          the blocks with the ids of the slide
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slideunet import __version__
from slideunet.cells.separation.decoding import NEEDED, Decoding
from slideunet.cells.separation.label_block import ids_of_cells, keys_of_block, label_block
from slideunet.cells.separation.separate import SEPARATION_VERSION, Maps
from slideunet.clusters import record_blocks, work_through
from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.geometry.runs import Runs
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.files import replacing
from slideunet.stores.fingerprint import fingerprint as digest_of
from slideunet.stores.ngff_metadata import Version
from slideunet.stores.resumable import Work, working

if TYPE_CHECKING:
    from distributed import Client

_PARTS = 2  # Raise when the files of blocks are others: then no unfinished labelling goes on.


@dataclass(frozen=True)
class LabellingTask:
    """What a worker needs to separate or number a block: paths and plain values."""

    prediction: Path
    folder: Path
    decoding: Decoding

    def file(self, index: int, kind: str) -> Path:
        """Return the file of a block: the "runs" or "keys" of the cells it sees, its own "ordered" by id."""
        return self.folder / f"{index}.{kind}.npy"


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
    client: "Client | None" = None,
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
        cell may extend beyond the block of its centre; `unfinished`, see `label_block.BlockCells`.
    """
    facts = manifests.read_manifest(prediction)
    grid = BlockGrid(tuple(facts["shape"][1:]))
    with working(
        manifests.store_path(prediction) / "labels" / ".cells",
        digest_of(result=fingerprint, parts=_PARTS),
        partial(Path.mkdir, parents=True),
        lock=prediction.with_name(f".{prediction.stem}@cells.lock"),
    ) as work:
        # Workers may have another working directory.
        task = LabellingTask(prediction.absolute(), work.path.absolute(), decoding)
        todo = work.todo(range(len(grid)))
        record_blocks(work, client, todo, partial(separate_block, task), slide=prediction.stem)
        # Numbering is quick and is done again.
        cells = work.path / "cells"
        shutil.rmtree(cells, ignore_errors=True)
        omezarr.create_labels(cells, grid.shape, mpp=facts["mpp"], version=version)
        found = _number(task, grid, work) | {"fingerprint": fingerprint} | asdict(decoding)
        digests = dict(work_through(client, range(len(grid)), partial(number_block, task)))
        found["blocks"] = [digests[index] for index in range(len(grid))]
        omezarr.finish_levels(cells)
        verified.replace_labels(prediction, "cells", cells, found)
        shutil.rmtree(work.path)
    return found


def separate_block(task: LabellingTask, index: int) -> dict[str, int]:
    """Separate the cells of one block, keep them under numbers of its own, and return its facts."""
    found = label_block(PredictedMaps.of(task), index, task.decoding)
    _save(task.file(index, "runs"), found.runs.packed())
    _save(task.file(index, "keys"), found.keys)
    return {"reach": found.reach, "unfinished": found.unfinished}


def number_block(task: LabellingTask, index: int) -> str:
    """Give the cells of one block their ids in the slide, write them and return the block's digest."""
    levels, keys = omezarr.open_levels(task.folder / "cells", "r+"), np.load(task.file(index, "keys"))
    ordered = {int(block): np.load(task.file(block, "ordered")) for block in np.unique(keys["block"])}
    ids = ids_of_cells(keys, ordered, np.load(task.folder / "first_ids.npy"))
    region = BlockGrid(levels[0].shape)[index]
    runs = Runs.unpacked(np.load(task.file(index, "runs")), region)
    labels = runs.of(np.concatenate([[0], ids]).astype(np.uint32)).image()
    omezarr.write_block(levels, region, labels)
    return digest(labels)


@dataclass(frozen=True)
class PredictedMaps:
    """The maps of a stored prediction; see `label_block.SlideMaps`.

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

    @classmethod
    @lru_cache(maxsize=1)
    def of(cls, task: LabellingTask) -> "PredictedMaps":
        """Open what a task needs, once per process and slide: opening looks for every chunk."""
        foreground = verified.open_image_store(task.prediction)
        if not (needed := NEEDED[task.decoding.method]):
            return cls(foreground, None, {})
        names = manifests.read_manifest(task.prediction)["maps"]["names"]
        channels = {name: names.index(name) for name in needed}
        return cls(foreground, verified.open_maps_store(task.prediction), channels)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the slide."""
        return self.foreground.shape[1], self.foreground.shape[2]

    def __getitem__(self, window: tuple[slice, slice]) -> Maps:
        """Read a window of every map, by its name."""
        found = {"foreground": self.foreground[:, *window][0]}
        if self.others is not None:
            others = self.others[:, *window]
            found |= {name: others[channel] for name, channel in self.channels.items()}
        return found


def _number(task: LabellingTask, grid: BlockGrid, work: Work) -> dict[str, Any]:
    """Order the cells of every block, from what it and its neighbours saw, and count."""
    counts = []
    for index in range(len(grid)):
        around = [np.load(task.file(block, "keys")) for block in grid.neighbours(index)]
        ordered = keys_of_block(around, index)
        _save(task.file(index, "ordered"), ordered)
        counts.append(len(ordered))
    check_count(n_cells := sum(counts))
    first = np.concatenate([[0], np.cumsum(counts[:-1], dtype=np.int64)]) + 1
    _save(task.folder / "first_ids.npy", first)
    return {
        "n_cells": n_cells,
        "first_ids": first.tolist(),
        "reach": max(block["reach"] for block in work.done.values()),
        "unfinished": sum(block["unfinished"] for block in work.done.values()),
    }


def check_count(count: int) -> None:
    """Raise OverflowError when `count` cells cannot be numbered in uint32."""
    if count > np.iinfo(np.uint32).max:
        raise OverflowError(f"{count} cells are more than uint32 can number (4294967295). Divide the slide.")


def _save(path: Path, array: np.ndarray) -> None:
    with replacing(path) as partial_file, partial_file.open("wb") as file:
        np.save(file, array)
