"""Slides that consist of several files: which files belong together, and whether all are present."""

import configparser
from collections.abc import Iterable
from pathlib import Path

from slideunet.errors import InputError

DICOM_MAGIC = b"DICM"
DICOM_OFFSET = 128
NAMES_SHOWN = 3


def files_of(path: Path) -> list[Path]:
    """Return the existing files of a slide, the given one first.

    MRXS adds the folder of its name, VMS and VMU the files that they list, DICOM the other DICOM files of the
    folder, where OpenSlide looks for further levels. Any other path stands for itself.
    """
    if not path.is_file():
        return [path]
    if is_dicom(path):
        companions = [file for file in sorted(path.parent.iterdir()) if file.is_file() and is_dicom(file)]
    elif path.suffix.lower() == ".mrxs":
        companions = sorted(path.with_suffix("").rglob("*"))
    else:
        companions = _hamamatsu_files(path)
    return [path, *(file for file in companions if file.is_file() and file != path)]


def check_companions(path: Path) -> None:
    """Refuse a slide with missing files, and Olympus VSI, with an `InputError`.

    Without its companions a slide may be read as another image: an MRXS file alone is a picture of the
    label, and a VSI contains pictures of label and slide beside the reference to its pixels.
    """
    if path.suffix.lower() == ".vsi":
        raise InputError(
            f"{path}: Olympus VSI is not supported; its pixels are in .ets files of another folder. "
            "Convert it to OME-TIFF, for example with Bio-Formats (bfconvert) or QuPath."
        )
    expected = _mirax_files(path) if path.suffix.lower() == ".mrxs" else _hamamatsu_files(path)
    missing = [file for file in expected if not file.exists()]
    if missing:
        names = ", ".join(str(file.relative_to(path.parent)) for file in missing[:NAMES_SHOWN])
        raise InputError(
            f"{path}: {len(missing)} of the files that belong to it are missing: "
            f"{names}{', ...' if len(missing) > NAMES_SHOWN else ''}. "
            "They contain the pixels. Copy them to the same place, or correct the path."
        )


def is_dicom(path: Path) -> bool:
    """Whether a file has the magic number of DICOM."""
    with path.open("rb") as file:
        file.seek(DICOM_OFFSET)
        return file.read(len(DICOM_MAGIC)) == DICOM_MAGIC


def _mirax_files(path: Path) -> list[Path]:
    folder = path.with_suffix("")
    index = folder / "Slidedat.ini"
    if not index.is_file():
        return [folder, index] if not folder.is_dir() else [index]
    parsed = _parse(index)
    names = [parsed.get("HIERARCHICAL", "INDEXFILE", fallback="")]
    if parsed.has_section("DATAFILE"):
        listed = parsed["DATAFILE"].items()
        names += [name or "" for key, name in listed if key.startswith("file_") and key != "file_count"]
    return _beside(folder, names)


def _hamamatsu_files(path: Path) -> list[Path]:
    """Return the files listed by a Hamamatsu VMS or VMU; none for other formats."""
    if path.suffix.lower() not in (".vms", ".vmu"):
        return []
    values = [
        value
        for section in _parse(path).values()
        for key, value in section.items()
        if key.startswith(("imagefile", "mapfile"))
    ]
    return _beside(path.parent, values)


def _beside(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return paths in a folder; names that lead out of it are ignored."""
    return [folder / name for name in names if name and Path(name).name == name]


def _parse(path: Path) -> configparser.ConfigParser:
    """Parse an ini file; a damaged one counts as empty."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig", errors="replace"))
    except configparser.Error:
        return configparser.ConfigParser()
    return parser
