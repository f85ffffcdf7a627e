import subprocess
import sys
from pathlib import Path

import pytest

import make_sheet
from slideunet.errors import InputError
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly
from slideunet.inputs.sheet import missing_files, read_sheet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folders(tmp_path):
    for name in ("images/p1_a.png", "images/p2_b.png", "masks/p1_a_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_the_sheet_can_be_read(folders, capsys):
    out = folders / "new" / "slides.tsv"
    make_sheet.main(images=folders / "images", labels=folders / "masks", out=out, group_regex="^(p.)_")
    sheet = read_sheet(out, read_yaml_strictly(ROOT / "workflow/schemas/slides.schema.yaml"))
    assert sheet.problems == ()
    assert missing_files(sheet) == []
    assert sheet.slides["group"].tolist() == ["p1", "p2"]
    assert sheet.slides["labels"].tolist() == [str(folders / "masks" / "p1_a_mask.png"), ""]
    output = capsys.readouterr().out
    assert "p2_b.png: no labels found" in output
    assert "2 slides, 1 with labels" in output


def test_an_existing_sheet_is_kept(folders):
    out = folders / "slides.tsv"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists and may have been edited"):
        make_sheet.main(images=folders / "images", labels=None, out=out)
    assert out.read_text() == "mine"


def test_a_sheet_that_is_kept_is_compared_with_the_folder(folders, capsys):
    out, images = folders / "out" / "slides.tsv", folders / "images"
    make_sheet.main(images=images, labels=None, out=out, keep=True)
    before = out.read_bytes()
    capsys.readouterr()
    make_sheet.main(images=images, labels=None, out=out, keep=True)
    make_sheet.main(images=None, labels=None, out=out, keep=True)
    assert capsys.readouterr().out == ""
    (images / "p3_c.png").touch()
    make_sheet.main(images=images, labels=None, out=out, keep=True)
    assert "lacks 1 of 3 images" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"has no image of .*masks"):
        make_sheet.main(images=folders / "masks", labels=None, out=out, keep=True)
    assert out.read_bytes() == before


def test_a_folder_that_was_not_given_is_asked_for(tmp_path):
    with pytest.raises(InputError, match="IMAGES="):
        make_sheet.main(images=None, labels=None, out=tmp_path / "slides.tsv")


@pytest.mark.slow
def test_as_a_command(folders):
    script = ROOT / "workflow/scripts/make_sheet.py"

    def run(*arguments):
        command = [sys.executable, script, *arguments]
        return subprocess.run(command, cwd=folders, capture_output=True, text=True, check=False)

    assert run("--images", "images", "--labels", "masks").returncode == 0
    assert (folders / "slides.tsv").read_text().splitlines()[0] == "slide\timage\tlabels"
    wrong = run("--images", "nowhere", "--out", "x.tsv")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
