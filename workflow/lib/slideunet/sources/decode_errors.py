"""Turning whatever a decoder raises into a message that a pathologist can read and act on."""

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path

from slideunet.errors import InputError, MachineError, SlideunetError

REASONS = (
    ("image flavor", "the DICOM attribute ImageType, which tells the slide from its label, is missing"),
    ("any pyramid levels", "it holds no image of a slide, only accompanying ones"),
    (r"no such file|cannot find the file", "a file that belongs to it is missing"),
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
"""What libraries say, by pattern, and what it means; the first that fits."""

MACHINE = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN, errno.EMFILE)
REMEDY = (
    "The file is truncated, damaged or in a variant that is not supported. "
    "Copy it again from its origin, or export it again as plain TIFF, PNG or OME-Zarr."
)


@contextlib.contextmanager
def explain_damage(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an `InputError`; the decoders have no common error class.

    Parameters
    ----------
    path : Path
        The file or folder.
    what : str
        What cannot be done, with the place: "level 0, the tile at y 0:240, x 240:480 cannot be decoded".

    Raises
    ------
    InputError
        With a reason in plain words where the library's is known. Its own words stay in the chain of causes.
    MachineError
        The file may not be read, or the disk or the network fails.
    """
    try:
        yield
    except (SlideunetError, MemoryError):
        raise
    except PermissionError as error:
        raise MachineError(f"{path}: may not be read by this user. Change its permissions.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise MachineError(
                f"{path}: the disk or the network failed ({error.strerror}). The file may be whole. "
                "Run the same command again, or copy the file to another disk."
            ) from error
        reason = plain_reason(error)
        raise InputError(f"{path}: {what}{f' ({reason})' if reason else ''}. {REMEDY}") from error


def plain_reason(error: Exception) -> str:
    """Say in plain words what a library's error means; empty when it is not known."""
    text = f"{type(error).__name__} {error}"
    return next((words for pattern, words in REASONS if re.search(pattern, text, re.IGNORECASE)), "")
