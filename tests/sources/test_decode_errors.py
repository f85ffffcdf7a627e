"""What a library says becomes what a pathologist can act on; the machine's faults are not the file's."""

import errno

import pytest

from slideunet.errors import InputError, MachineError
from slideunet.sources.decode_errors import explain_damage, plain_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EOFError(""), "its data end too early"),
        (OSError("image file is truncated (12 bytes not processed)"), "its data end too early"),
        (ValueError("Bogus marker length"), "its compressed data are damaged"),
        (RuntimeError("Couldn't get image flavor"), "the DICOM attribute ImageType"),
        (RuntimeError("Unsupported TIFF compression: 52479"), "its compression is not supported"),
        (OSError("Couldn't open Data0003.dat: No such file or directory"), "one of its files is missing"),
        (ZeroDivisionError("division by zero"), ""),
    ],
)
def test_plain_words(error, reason):
    assert plain_reason(error).startswith(reason)
    assert bool(plain_reason(error)) == bool(reason)


@pytest.mark.parametrize(
    "kind", [OSError(errno.EIO, "Input/output error"), PermissionError(errno.EACCES, "no")]
)
def test_the_machine_is_to_blame(tmp_path, kind):
    with (
        pytest.raises(MachineError, match=r"i\.tif"),
        explain_damage(tmp_path / "i.tif", "it cannot be read"),
    ):
        raise kind


def test_the_message_is_one_line_and_keeps_the_cause(tmp_path):
    cause = ValueError("two\nlines of a library")
    with pytest.raises(InputError) as caught, explain_damage(tmp_path / "i.tif", "it cannot be read"):
        raise cause
    assert caught.value.__cause__ is cause
    assert str(caught.value).startswith(f"{tmp_path / 'i.tif'}: it cannot be read. The file is truncated")
    assert "\n" not in str(caught.value)
    assert "library" not in str(caught.value)


def test_what_is_explained_already_stays(tmp_path):
    for error in (InputError("explained"), MemoryError()):
        with pytest.raises(type(error)) as caught, explain_damage(tmp_path, "it cannot be read"):
            raise error
        assert caught.value is error
