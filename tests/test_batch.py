import pytest

from slideunet.batch import counted, each_slide, finish_batch
from slideunet.errors import DamagedDataError, InputError, MachineError, SlideunetError
from slideunet.stores.manifests import read_manifest, write_manifest


def test_every_slide_is_processed_and_reports_whether_it_had_work(caplog, monkeypatch):
    monkeypatch.setattr("slideunet.batch._LOG_INTERVAL", 2)
    caplog.set_level("INFO")
    seen = []
    works = {"a": 1, "b": 2, "c": 3, "d": 4}
    done = each_slide(works, lambda slide, work: seen.append((slide, work)) or work != 3)
    assert seen == list(works.items())
    assert done == {"a": True, "b": True, "c": False, "d": True}
    assert caplog.messages == ["2 of 4 slides", "4 of 4 slides"]


def test_only_what_there_is_gets_counted():
    assert counted({"a": True, "b": True}, "measured") == "2 slides measured"
    assert counted({"a": True, "b": False}, "measured") == "1 slide measured, 1 up to date"
    assert counted({}, "measured") == "0 slides measured"


@pytest.mark.parametrize(
    ("kinds", "gravest"),
    [
        ([InputError, InputError], InputError),
        ([InputError, DamagedDataError], DamagedDataError),
        ([MachineError, InputError], MachineError),
        ([InputError, SlideunetError, MachineError], SlideunetError),
    ],
)
def test_a_failing_slide_does_not_stop_the_others(kinds, gravest):
    done = []

    def do(slide, work):
        if isinstance(work, type):
            raise work([f"{slide} is bad", f"{slide} is really bad"])
        done.append(slide)
        return True

    works = {f"bad{i}": kind for i, kind in enumerate(kinds)}
    with pytest.raises(SlideunetError) as caught:
        each_slide({"first": 0, **works, "last": 0}, do)
    assert done == ["first", "last"]
    assert type(caught.value) is gravest
    assert caught.value.problems == tuple(
        f"{slide} is {how}" for slide in works for how in ("bad", "really bad")
    )


def test_a_bug_is_raised_at_once():
    done = []
    with pytest.raises(ZeroDivisionError):
        each_slide({"a": 1, "b": 0, "c": 1}, lambda slide, work: done.append(1 // work) or True)
    assert done == [1]


def test_the_manifest_of_a_batch_has_the_fingerprints_of_its_slides(tmp_path):
    for slide in ("001", "NA"):
        write_manifest(tmp_path / "slides" / f"{slide}.json", {"fingerprint": f"f-{slide}"})
    finish_batch(tmp_path / "batches" / "1.json", tmp_path / "slides", ["001", "NA"])
    assert read_manifest(tmp_path / "batches" / "1.json") == {"001": "f-001", "NA": "f-NA"}
    with pytest.raises(DamagedDataError, match=r"absent\.json is missing"):
        finish_batch(tmp_path / "batches" / "2.json", tmp_path / "slides", ["001", "absent"])
    assert not (tmp_path / "batches" / "2.json").exists()


def test_errors_keep_every_message_and_have_the_exit_codes_of_the_contract():
    assert InputError("one").problems == ("one",)
    assert str(InputError(f"{i}" for i in range(2))) == "0\n1"
    kinds = (InputError, DamagedDataError, MachineError, SlideunetError)
    assert [kind.exit_code for kind in kinds] == [2, 3, 4, 5]
