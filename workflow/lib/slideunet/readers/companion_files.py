"""Slides that are kept in several files: which files belong together, and whether they are all there."""

import configparser
from collections.abc import Iterable
from pathlib import Path

from slideunet.errors import InputError

DICOM_MARK = (128, b"DICM")
SHOWN = 3


def files_of(path: Path) -> list[Path]:
    """Return all files that a slide consists of, as far as they are there, the given one first.

    Parameters
    ----------
    path : Path
        MRXS: the folder of its name is added. VMS and VMU: what they list. DICOM: the other DICOM files of
        the folder, as OpenSlide looks for the other levels there. Anything else, a folder too, is itself.
    """
    if not path.is_file():
        return [path]
    if is_dicom(path):
        others = [file for file in sorted(path.parent.iterdir()) if file.is_file() and is_dicom(file)]
    elif path.suffix.lower() == ".mrxs":
        others = [file for file in sorted(path.with_suffix("").rglob("*")) if file.is_file()]
    else:
        others = _listed(path)
    return [path, *(file for file in others if file.is_file() and file != path)]


def check_companions(path: Path) -> None:
    """Refuse a slide of several files of which some are missing, and an Olympus VSI.

    Without its companions a slide is not recognised, or, worse, it is: the MRXS file itself is a picture of
    the label, and a VSI holds pictures of label and slide beside the reference to its pixels.

    Raises
    ------
    InputError
        Names what is missing.
    """
    if path.suffix.lower() == ".vsi":
        raise InputError(
            f"{path}: Olympus VSI is not supported; its pixels lie in .ets files of another folder. "
            "Convert it to OME-TIFF, for example with Bio-Formats (bfconvert) or QuPath."
        )
    expected = _mirax_files(path) if path.suffix.lower() == ".mrxs" else _listed(path)
    missing = [file for file in expected if not file.exists()]
    if missing:
        names = ", ".join(str(file.relative_to(path.parent)) for file in missing[:SHOWN])
        raise InputError(
            f"{path}: {len(missing)} of the files that belong to it are missing: "
            f"{names}{', ...' if len(missing) > SHOWN else ''}. "
            "The slide is in them. Copy them to the same place, or correct the path."
        )


def is_dicom(path: Path) -> bool:
    """Whether a file has the mark of DICOM."""
    start, mark = DICOM_MARK
    with path.open("rb") as file:
        file.seek(start)
        return file.read(len(mark)) == mark


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


def _listed(path: Path) -> list[Path]:
    """Return the files that a VMS or VMU of Hamamatsu lists."""
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
    """Return paths in a folder; names that lead out of it are no names of companions."""
    return [folder / name for name in names if name and Path(name).name == name]


def _parse(path: Path) -> configparser.ConfigParser:
    """Parse an ini file as far as it goes."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig", errors="replace"))
    except configparser.Error:
        return configparser.ConfigParser()
    return parser
