"""The removal of what `data.keep` does not name."""

import shutil
from collections.abc import Collection
from pathlib import Path

from slideunet.stores import omezarr
from slideunet.stores.kept import IN_PREDICTION, dropped_parts
from slideunet.stores.manifests import read_manifest, store_path, write_manifest


def drop_parts(manifest: Path, parts: Collection[str]) -> bool:
    """Remove parts of a prediction's store; its manifest, tissue mask and all other parts stay.

    The manifest is told first, so at no instant it speaks of pixels that are gone; a removal that was
    interrupted is finished by the next call.

    Parameters
    ----------
    manifest : Path
        Of the prediction.
    parts : collection of str
        Of `IN_PREDICTION`.

    Returns
    -------
    bool
        Whether there was anything to remove.
    """
    facts, store = read_manifest(manifest), store_path(manifest)
    folders = [folder for part in parts for folder in _folders(store, part)] if store.is_dir() else []
    present = [folder for folder in folders if folder.is_dir()]
    gone = dropped_parts(facts) | set(parts)
    if gone != dropped_parts(facts):
        write_manifest(manifest, facts | {"dropped": [part for part in IN_PREDICTION if part in gone]})
    for folder in present:
        shutil.rmtree(folder)
    if "labels" in parts and (store / "labels").is_dir():
        omezarr.list_labels(store / "labels")
    return bool(present)


def _folders(store: Path, part: str) -> list[Path]:
    if part == "maps":
        return [store / omezarr.MAPS]
    # The pyramid's own metadata stay, so that the store remains one that can be opened and said to be empty.
    return [store / "labels/cells"] if part == "labels" else omezarr.level_paths(store)
