"""Plain messages, which a pathologist can act on, for errors of image decoders."""

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path

from slideunet.errors import InputError, MachineError, SlideunetError

REASONS = (
    (
        "image flavor",
        "the DICOM attribute ImageType, which marks the slide and its label, is missing",
    ),
    ("any pyramid levels", "it contains only accompanying images, such as the label"),
    (r"no such file|cannot find the file", "one of its files is missing"),
    (
        r"unsupported .*compression|compressionnotsupported|<compression|is not a valid compression"
        r"|not implemented for compression|requires the 'imagecodecs'",
        "its compression is not supported",
    ),
    (
        r"truncat|premature|unexpected end|end of (file|stream|data)|short read|eof|incomplete|too short"
        r"|not enough data|read failed|failed to read|buffer is smaller",
        "its data end too early",
    ),
    (
        r"jpeg|jpg|marker|huffman|deflate|zlib|zstd|lzw|lzma|inflat|webp|crc|checksum|corrupt|decompress|codec"
        r"|invalid data|bad data|decode|png|broken",
        "its compressed data are damaged",
    ),
    (r"invalid unit|xml|json|parse", "its metadata are damaged"),
)
"""Patterns of library messages and their meaning; the first match counts."""

MACHINE = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN, errno.EMFILE)
REMEDY = (
    "The file is truncated, damaged or of an unsupported variant. "
    "Copy it again from its origin, or export it again as plain TIFF, PNG or OME-Zarr."
)


@contextlib.contextmanager
def explain_damage(path: Path, what: str) -> Iterator[None]:
    """Turn any exception of a decoder into an `InputError`; decoders have no common error class.

    Parameters
    ----------
    path : Path
        File or folder.
    what : str
        The failure and its place: "level 0, the tile at y 0:240, x 240:480 cannot be decoded".

    Raises
    ------
    InputError
        With a plain reason for known library messages; the original error is its cause.
    MachineError
        Missing permission, or a failure of disk or network.
    """
    try:
        yield
    except (SlideunetError, MemoryError):
        raise
    except PermissionError as error:
        raise MachineError(f"{path}: this user may not read it. Change its permissions.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise MachineError(
                f"{path}: the disk or the network failed ({error.strerror}). The file may be intact. "
                "Rerun the same command, or copy the file to another disk."
            ) from error
        reason = plain_reason(error)
        raise InputError(f"{path}: {what}{f' ({reason})' if reason else ''}. {REMEDY}") from error


def plain_reason(error: Exception) -> str:
    """Explain a library's error; empty if no pattern of `REASONS` matches."""
    text = f"{type(error).__name__} {error}"
    return next((words for pattern, words in REASONS if re.search(pattern, text, re.IGNORECASE)), "")
