import signal
import subprocess
import sys
from pathlib import Path

import pytest

import view_slide
from slideunet.errors import InputError

SCRIPT = Path(view_slide.__file__)


def run(*options):
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("port", ["x", "-1", "65536", "1.5", " "])
def test_a_port_is_a_number(port):
    with pytest.raises(InputError, match="is not a number from 1 to 65535"):
        view_slide._port(port)


def test_no_port_is_any():
    assert (view_slide._port(""), view_slide._port("8000")) == (0, 8000)


@pytest.mark.parametrize(("text", "place"), [("", None), ("12,34", (12, 34)), (" 1200.5, 3 ", (1200.5, 3))])
def test_a_place_is_that_of_the_report(text, place):
    assert view_slide._place(text) == place


@pytest.mark.parametrize("text", ["12", "12,", "y 12, x 34", "-1,2", "1,2,3", "1e5,2", "nan,1"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(InputError, match="is not y,x in pixels of the original, e"):
        view_slide._place(text)


def test_a_run_that_is_not_there_ends_with_one_line(tmp_path):
    ended = run(f"--run={tmp_path / 'a b'}", "--slide=S1")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "is not a folder" in ended.stderr


def test_a_browser_is_opened_on_a_screen_only(monkeypatch):
    monkeypatch.setattr(view_slide.webbrowser, "open", lambda address: True)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not view_slide._opened("http://127.0.0.1:1/")
    monkeypatch.setenv("DISPLAY", ":0")
    assert view_slide._opened("http://127.0.0.1:1/")


def test_it_prints_the_address_and_ends_with_an_interrupt(tmp_path, convert_cells):
    pytest.importorskip("neuroglancer", reason="pip install -r envs/requirements-view.txt")
    convert_cells(tmp_path / "results")
    command = [sys.executable, SCRIPT, f"--run={tmp_path}", "--slide=S1", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert "S1 is at http://127.0.0.1:" in process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
