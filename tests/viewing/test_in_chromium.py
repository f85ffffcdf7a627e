"""The viewer in a real browser, drawn by software: what a user sees and does."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from slideunet.viewing.session import viewing
from slideunet.viewing.state import CHOSEN

neuroglancer = pytest.importorskip("neuroglancer", reason="pip install -r envs/requirements-view.txt")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r envs/requirements-dev.txt")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
YELLOW, CYAN = (255, 208, 0), (0, 229, 255)  # outlines of cells and of true objects
SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


@pytest.fixture
def browser():
    with playwright.sync_playwright() as programs:
        browser = programs.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        yield browser
        browser.close()


def picture(page):
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def near(pixels, colour):
    return np.abs(pixels - colour).max(axis=-1) < 40


def wait_for(page, condition, milliseconds=60_000):
    """Wait until a picture is as it should be, and return it; fail with the last one."""
    for _ in range(milliseconds // 500):
        pixels = picture(page)
        if condition(pixels):
            return pixels
        page.wait_for_timeout(500)
    raise AssertionError("the picture stays as it is")


def test_cells_are_on_the_tissue_and_a_click_shows_the_row(viewed, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    problems, asked = [], []
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    with viewing(viewed) as address:
        page.goto(address)
        first = wait_for(page, lambda p: near(p, YELLOW).sum() > 300 and near(p, CYAN).sum() > 300)
        # The drawn cells are bright on a dark ground, so grey of both is in the picture.
        grey = first[np.ptp(first, axis=-1) < 4].mean(axis=-1)
        assert ((grey > 5) & (grey < 90)).sum() > 10_000

        viewer = next(iter(neuroglancer.server.global_server.viewers.values()))
        cell = np.argwhere(near(first, YELLOW)).mean(axis=0)
        for offset in range(0, 200, 8):
            page.mouse.click(cell[1] + offset, cell[0])
            page.wait_for_timeout(500)
            if viewer.shared_state.raw_state["layers"][-1]["name"] == CHOSEN:
                break
        page.get_by_text("mean_probability").first.wait_for(timeout=60_000)
        assert page.get_by_text("perimeter").first.is_visible()

        page.get_by_text("missed", exact=False).first.click()
        points = next(layer for layer in viewer.shared_state.raw_state["layers"] if layer["name"] == "errors")
        for _ in range(100):
            page.wait_for_timeout(200)
            if viewer.shared_state.raw_state["position"] == points["annotations"][0]["point"]:
                break
        assert viewer.shared_state.raw_state["position"] == points["annotations"][0]["point"]
        origin = "/".join(address.split("/")[:3])
    assert not problems
    assert len(asked) > 10
    assert not [url for url in asked if not url.startswith((origin, "data:", f"blob:{origin}"))]


def test_a_chunk_that_is_lost_meanwhile_is_said(tmp_path, make_run, browser):
    from slideunet.viewing.viewed_slide import find_slide

    slide = find_slide(make_run(tmp_path), "S1")
    page = browser.new_page()
    with viewing(slide) as address:
        (slide.image / "0/c/0/0/0").unlink()
        (slide.image / "1/c/0/0/0").unlink(missing_ok=True)
        page.goto(address)
        message = page.get_by_text("Damaged:", exact=False).first
        message.wait_for(timeout=60_000)
        assert message.is_visible()
