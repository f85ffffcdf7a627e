"""Work done block by block, so that a kill at any instant costs the blocks in flight and nothing else.

    results/predictions/S1.zarr.3f2a….partial    in work; the name holds what the result depends on
        .journal/0.jsonl                          one line per finished block: its number, digest and facts
    results/predictions/S1.zarr + S1.json         complete: the manifest is written last

A block counts as done when its line is in the journal, and the line is written after the block. Work with
another model, image or parameter has another name, so nothing of it is ever taken over.
"""

import contextlib
import functools
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slideunet.errors import DamagedDataError
from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.stores import omezarr
from slideunet.stores.files import flush, write_once
from slideunet.stores.locks import locked
from slideunet.stores.manifests import discard_store, store_path, write_manifest
from slideunet.stores.verified import check_complete

_JOURNAL = ".journal"
_SAMPLE = 8  # Blocks that are read back before a store counts as complete.

BlockFacts = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """A folder of unfinished work.

    Attributes
    ----------
    path : Path
        The folder.
    done : dict
        Number of each finished block to its facts.
    part : int
        Which of several processes that do it at once this is.
    """

    path: Path
    done: dict[int, BlockFacts]
    part: int

    def record(self, index: int, facts: BlockFacts) -> None:
        """Note a finished block."""
        line = json.dumps([index, facts])
        with (self.path / _JOURNAL / f"{self.part}.jsonl").open("a", encoding="utf-8") as journal:
            # The line feed before it ends a line that a kill cut off.
            journal.write(f"\n{line}\n")
        self.done[index] = facts

    def todo(self, wanted: range) -> list[int]:
        """Return the blocks of those that are wanted that are not done."""
        return [index for index in wanted if index not in self.done]

    def decided(self, name: str, decide: Callable[[], BlockFacts]) -> BlockFacts:
        """Return facts on which all parts and restarts agree: those of the process that was the first."""
        path = self.path / _JOURNAL / f"{name}.json"
        if not path.is_file():
            write_once(path, json.dumps(decide()))
        return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Building(Work):
    """A store in the making, whose facts of each block include its "digest".

    Attributes
    ----------
    manifest : Path
        Written last.
    overview_of : tuple of int, or None
        (c, y, x) of the image, if the store has an overview of it only.
    """

    manifest: Path
    overview_of: tuple[int, ...] | None = None

    @property
    def first_level(self) -> int:
        """The finest level of the image that the store has."""
        return 0 if self.overview_of is None else omezarr.overview_level(self.overview_of)

    def todo(self, wanted: range | None = None) -> list[int]:
        """Return the blocks, of all or of those that are wanted, that are not done."""
        # A part of few blocks may have none: an empty range is not None.
        return super().todo(range(len(self._grid())) if wanted is None else wanted)

    def finish(self, facts: BlockFacts) -> None:
        """Check the store, move it to its final name and write its manifest with these facts.

        Raises
        ------
        DamagedDataError
            When a block is missing or is not what was written.
        """
        self._check_done()
        omezarr.finish_levels(self.path, self.first_level)
        check_complete(self.path)
        self._read_back()
        # What kills in the middle of a write left: zarr writes a file under another name first.
        for file in self.path.rglob("*.partial"):
            file.unlink(missing_ok=True)
        for place in (self.path, *self.path.rglob("*")):
            flush(place)
        discard_store(self.manifest)
        final = store_path(self.manifest)
        self.path.rename(final)
        write_manifest(self.manifest, facts | {"blocks": digests(self.done)})
        shutil.rmtree(final / _JOURNAL)

    def _grid(self) -> BlockGrid:
        return BlockGrid(self.overview_of or omezarr.open_level(self.path, 0).shape)

    def _check_done(self) -> None:
        if missing := self.todo():
            raise DamagedDataError(
                f"{self.path}: {len(missing)} of {len(self._grid())} blocks are missing, the first is "
                f"{missing[0]}. A part has not finished its blocks. Run the same command again."
            )

    def _read_back(self) -> None:
        if self.first_level > 0:
            return
        array, grid = omezarr.open_level(self.path, 0), self._grid()
        for index in range(0, len(grid), max(1, len(grid) // _SAMPLE)):
            if digest(np.asarray(array[..., *grid[index]])) != self.done[index]["digest"]:
                raise DamagedDataError(
                    f"{self.path}: block {index} is not what was written. The disk or a second writer is at "
                    "fault. Delete this folder and run the same command again."
                )


def digests(done: dict[int, BlockFacts], name: str = "digest") -> list[str]:
    """Return the digests of all blocks in their order, by their name among the facts."""
    return [done[index][name] for index in sorted(done)]


@contextlib.contextmanager
def building(
    manifest: Path,
    fingerprint: str,
    create: Callable[[Path], None],
    *,
    part: int | None = None,
    overview_of: tuple[int, ...] | None = None,
) -> Iterator[Building]:
    """Begin a store or go on with one that was interrupted, as the only writer; see `working`, `Building`."""
    prepare = functools.partial(_take_back, manifest)
    lock = manifest.with_name(f".{manifest.stem}.lock")
    with working(store_path(manifest), fingerprint, create, lock=lock, part=part, prepare=prepare) as work:
        yield Building(work.path, work.done, work.part, manifest, overview_of)


@contextlib.contextmanager
def working(
    result: Path,
    fingerprint: str,
    create: Callable[[Path], None],
    *,
    lock: Path,
    part: int | None = None,
    prepare: Callable[[Path], None] = lambda path: None,
) -> Iterator[Work]:
    """Begin work or go on with work that was interrupted, as the only process that does it.

    Parameters
    ----------
    result : Path
        What it is for: beside it, under a name that begins with its name, lies the folder.
    fingerprint : str
        Of all that the result depends on; work with another one is removed.
    create : callable
        Makes at the path that it is given the folder of work that begins: of a store, the empty pyramid.
    lock : Path
        A file to hold meanwhile.
    part : int, optional
        Number of this process among several that do it at once, each with its own blocks.
    prepare : callable
        Is given the path of the folder before it is looked for.

    Raises
    ------
    MachineError
        When another process is doing it.
    """
    path = result.with_name(f"{result.name}.{fingerprint[:16]}.partial")
    with contextlib.ExitStack() as held:
        held.enter_context(locked(lock, shared=part is not None))
        if part is not None:
            # Not a name that the lock of a slide may have: one slide is called "a", another one "a.0".
            held.enter_context(locked(lock.with_name(f"{lock.name}.{part}")))
        # Beside other parts, what is being created may be theirs.
        _sweep(result, keep=path, endings=(".partial", ".new") if part is None else (".partial",))
        prepare(path)
        if not path.is_dir():
            new = unfinished(path)
            create(new)
            (new / _JOURNAL).mkdir(parents=True)
            (new / _JOURNAL / "fingerprint").write_text(fingerprint)
            move_unless_there(new, path)
        yield Work(path, read_journal(path), part or 0)


def read_journal(path: Path) -> dict[int, BlockFacts]:
    """Return the finished blocks of a store in the making, from the journals of all parts.

    A last line that a kill cut off does not count.
    """
    done: dict[int, BlockFacts] = {}
    for journal in sorted((path / _JOURNAL).glob("*.jsonl")):
        for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                index, facts = json.loads(line)
                done[index] = facts
    return done


def unfinished(path: Path) -> Path:
    """Return a name of its own for what is to become a store in the making, or part of it.

    Parts on several machines may have the same process id. What a kill leaves is swept away by its ending.
    """
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")


def move_unless_there(new: Path, path: Path) -> None:
    """Give a folder its name, unless another part of this slide was first with the same."""
    try:
        new.rename(path)
    except OSError:
        shutil.rmtree(new)
        if not path.is_dir():
            raise


def _sweep(result: Path, keep: Path, endings: tuple[str, ...]) -> None:
    """Remove what runs with other parameters left behind, and what a worker wrote that outlived its run."""
    own = re.compile(rf"{re.escape(result.name)}\.[0-9a-f]{{16}}\.partial(\.[0-9a-f]{{32}}\.new)?")
    for other in result.parent.glob(f"{result.name}.*"):
        if (other / _JOURNAL).is_dir() and other == keep:
            continue
        if own.fullmatch(other.name) and other.name.endswith(endings):
            # Half removed it must not be gone on with, should its parameters come back.
            with contextlib.suppress(FileNotFoundError):  # Another part was first.
                shutil.rmtree(other.rename(unfinished(keep)), ignore_errors=True)


def _take_back(manifest: Path, path: Path) -> None:
    """Go on with a store that was killed between its move to the final name and its manifest."""
    final = store_path(manifest)
    if manifest.exists():
        # Killed after the manifest: nothing to take back, not even once this store is half removed.
        shutil.rmtree(final / _JOURNAL, ignore_errors=True)
        return
    told = final / _JOURNAL / "fingerprint"
    # Another part may be first.
    with contextlib.suppress(FileNotFoundError):
        if not path.exists() and path.name.endswith(f".{told.read_text()[:16]}.partial"):
            final.rename(path)
