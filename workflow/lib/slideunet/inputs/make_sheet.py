"""Sample sheets from a folder of images and a folder of labels, paired by file name."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from slideunet.errors import InputError
from slideunet.inputs.row_problems import RESERVED
from slideunet.readers.companion_files import files_of
from slideunet.readers.endings import IMAGE_ENDINGS, LABEL_ENDINGS, ROI_REMEDY

_SUFFIX = re.compile(
    r"[ ._-](cp[_-]masks?|masks?|labels?|gt|ground[_-]?truth|seg(mentation)?|annotations?|instances?)$", re.I
)
_ID_LENGTH = 64
_NAMES_SHOWN = 5


def pair_folders(
    images: Path, labels: Path | None, group_regex: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Pair the files of two folders by stem, with or without an ending such as `_mask` or `-labels`.

    Labels may also be named as predictions are, by the slide's id, or by the whole name of the image.

    Parameters
    ----------
    images : Path
        Folder of images; sub-folders are not searched.
    labels : Path, optional
        Folder of labels, or the same one: files whose stem ends like labels are then not images.
    group_regex : str, optional
        Its first group (or the whole match), found in the stem of the image, is the slide's group.

    Returns
    -------
    pandas.DataFrame
        slide, image, labels, group ("" if unknown); absolute paths; sorted by file name.
    list of str
        Messages about unpaired, ambiguous and left out files and changed ids.

    Raises
    ------
    InputError
        When a folder does not exist, has no image, or the expression is not valid.
    """
    files, rest = _slides(_files(images, IMAGE_ENDINGS))
    if labels is not None and labels.resolve() == images.resolve():
        stems = {stem for stem, _ in files}
        files = [(stem, path) for stem, path in files if _core(stem) == stem or _core(stem) not in stems]
    if not files:
        raise InputError(
            f"{images}: contains no image ({', '.join(IMAGE_ENDINGS)}). Sub-folders are not searched. "
            f"{_list_names(_left_out(images, IMAGE_ENDINGS)) or 'It is empty'}. Name another folder."
        )
    used = {path for _, path in files}
    candidates = [
        (stem, path) for stem, path in (_files(labels, LABEL_ENDINGS) if labels else []) if path not in used
    ]
    ids, renamed = _ids([stem for stem, _ in files])
    pairs, messages = _pair(files, ids, candidates, labels is not None)
    pattern = _compile(group_regex) if group_regex else None
    rows = [
        {"slide": slide, "image": str(path), "labels": pairs.get(path, ""), "group": _group(stem, pattern)}
        for slide, (stem, path) in zip(ids, files, strict=True)
    ]
    messages += [*renamed, *rest, *_omissions(images, labels)]
    return pd.DataFrame(rows, dtype=str), messages


def relative_to(sheet: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Make image and label paths relative to a folder if they are below it or below its parent."""
    anchor, parent = folder.resolve(), folder.resolve().parent

    def shorten(text: str) -> str:
        near = text and Path(text).is_relative_to(parent) and parent != parent.parent
        return Path(os.path.relpath(text, anchor)).as_posix() if near else text

    return sheet.assign(image=sheet["image"].map(shorten), labels=sheet["labels"].map(shorten))


def _files(folder: Path, endings: Iterable[str]) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder. It should contain the files to pair. Correct the path.")
    paths = sorted(path for path in folder.resolve().iterdir() if not path.name.startswith("."))
    stems = [(_stem(path.name, endings), path) for path in paths]
    return [(stem, path) for stem, path in stems if stem]


def _slides(files: list[tuple[str, Path]]) -> tuple[list[tuple[str, Path]], list[str]]:
    """Drop the files that belong to another one, and say so of DICOM, whose files have no main one."""
    dicom = [(stem, path) for stem, path in files if path.suffix.lower() == ".dcm"]
    # The largest has the pixels of the full resolution.
    largest = max((path for _, path in dicom), key=lambda path: path.stat().st_size, default=None)
    others = {path for _, path in dicom if path != largest}
    several = [path for _, path in files if path.suffix.lower() in (".vms", ".vmu", ".mrxs")]
    belonging = others | {file for path in several for file in files_of(path)[1:]}
    kept = [(stem, path) for stem, path in files if path not in belonging]
    if not others or largest is None:
        return kept, []
    message = (
        f"{largest.name}: stands for all {len(dicom)} DICOM files of its folder, as one slide has several. "
        "If some are another slide, add a line for it."
    )
    return kept, [message]


def _left_out(folder: Path, endings: Iterable[str]) -> list[str]:
    """Return the names in a folder that have none of the endings; folders end with "/"."""
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    slides = {path.stem for path in paths if path.suffix.lower() == ".mrxs"}
    return [
        f"{path.name}/" if path.is_dir() else path.name
        for path in paths
        if not _stem(path.name, endings) and not (path.is_dir() and path.name in slides)
    ]


def _omissions(images: Path, labels: Path | None) -> list[str]:
    """Return one message per folder with entries that nothing reads."""
    same = labels is not None and labels.resolve() == images.resolve()
    found = [(images, LABEL_ENDINGS if same else IMAGE_ENDINGS)]
    found += [(labels, LABEL_ENDINGS)] if labels is not None and not same else []
    messages = []
    for folder, endings in found:
        names = _left_out(folder, endings)
        if names:
            messages.append(f"{folder.name}: {_list_names(names)}. {_remedy(names)}")
    return messages


def _list_names(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    return f"{len(names)} left out ({shown})" if names else ""


def _remedy(names: list[str]) -> str:
    if any(name.lower().endswith((".zip", ".roi")) for name in names):
        return f"ImageJ ROIs are not read. {ROI_REMEDY}"
    if any(name.endswith("/") for name in names):
        return "Sub-folders are not searched, and other files are not read."
    return "Only images with a known ending are read."


def _stem(name: str, endings: Iterable[str]) -> str:
    fitting = [ending for ending in endings if name.lower().endswith(ending)]
    return name[: -len(max(fitting, key=len))] if fitting else ""


def _core(stem: str) -> str:
    return _SUFFIX.sub("", stem)


def _pair(
    images: list[tuple[str, Path]], ids: list[str], labels: list[tuple[str, Path]], wanted: bool
) -> tuple[dict[Path, str], list[str]]:
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for stem, path in labels:
        # The stem of an image may end in "_seg" too, so both are tried.
        for key in {stem, _core(stem)}:
            by_stem[key].append(path)
    fitting = {
        path: next((by_stem[key] for key in (stem, _core(stem), path.name, slide) if key in by_stem), [])
        for (stem, path), slide in zip(images, ids, strict=True)
    }
    pairs = {path: str(labels[0]) for path, labels in fitting.items() if len(labels) == 1}
    considered = {label for labels in fitting.values() for label in labels}
    messages = [_unpaired(path, labels) for path, labels in fitting.items() if wanted and len(labels) != 1]
    messages += [
        f"{path.name}: no image has this name, so these labels are not used."
        for _, path in labels
        if path not in considered
    ]
    return pairs, messages + _shared(pairs)


def _unpaired(image: Path, fitting: list[Path]) -> str:
    if not fitting:
        stem = _stem(image.name, IMAGE_ENDINGS)
        return f"{image.name}: no labels found, so it will be predicted only. Expected e.g. {stem}_mask.png."
    names = ", ".join(sorted(label.name for label in fitting))
    return f"{image.name}: several labels fit ({names}), so none was taken. Remove all but one."


def _shared(pairs: Mapping[Path, str]) -> list[str]:
    images: dict[str, list[str]] = defaultdict(list)
    for image, label in pairs.items():
        images[label].append(image.name)
    return [
        f"{Path(label).name}: fits several images ({', '.join(sorted(names))}). Check these lines of the "
        "sheet."
        for label, names in images.items()
        if len(names) > 1
    ]


def _ids(stems: list[str]) -> tuple[list[str], list[str]]:
    ids: list[str] = []
    messages: list[str] = []
    for stem in stems:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:_ID_LENGTH] or "slide"
        base = f"slide-{base}"[:_ID_LENGTH] if base.split(".")[0].upper() in RESERVED else base
        chosen, number = base, 2
        while chosen.lower() in (other.lower() for other in ids):
            chosen = f"{base[: _ID_LENGTH - len(str(number)) - 1]}-{number}"
            number += 1
        if chosen != stem:
            messages.append(
                f"{stem}: the slide id is {chosen} (letters, digits, '.', '_', '-'; unique; at most 64)."
            )
        ids.append(chosen)
    return ids, messages


def _compile(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise InputError(
            f"the group expression '{regex}' is not valid ({error}). Example: '^(donor[0-9]+)_'."
        ) from error


def _group(stem: str, pattern: re.Pattern[str] | None) -> str:
    match = pattern.search(stem) if pattern else None
    return (match.group(1 if match.re.groups else 0) or "") if match else ""
