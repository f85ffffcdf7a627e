import pytest

from slideunet import quarantine
from slideunet.errors import DamagedDataError, InputError
from slideunet.quarantine import Quarantined


def test_slides_are_quarantined_and_released(tmp_path):
    quarantine.put(tmp_path, "S1", InputError(["is a text.", "is small."]))
    quarantine.put(tmp_path, "a.b", DamagedDataError("is torn."))
    assert quarantine.read(tmp_path) == {
        "S1": Quarantined(("is a text.", "is small."), 2),
        "a.b": Quarantined(("is torn.",), 3),
    }
    quarantine.release(tmp_path, ["S1", "never"])
    assert list(quarantine.read(tmp_path)) == ["a.b"]


def test_without_a_folder_no_slide_is_quarantined(tmp_path):
    assert quarantine.read(tmp_path / "absent") == {}
    assert quarantine.exit_summary({}) == (0, "")


@pytest.mark.parametrize(("codes", "expected"), [([2], 2), ([2, 3, 2], 3)])
def test_the_summary_has_every_problem_and_the_highest_code(codes, expected):
    quarantined = {f"S{i}": Quarantined((f"slide S{i}: is bad.",), code) for i, code in enumerate(codes)}
    code, text = quarantine.exit_summary(quarantined)
    assert code == expected
    assert all(f"  - slide {slide}: is bad." in text for slide in quarantined)
