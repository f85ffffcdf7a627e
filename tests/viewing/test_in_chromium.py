"""The viewer in a real browser, drawn by software: what a user sees and does."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from slideunet.viewing import state
from slideunet.viewing.cell_table import read_row
from slideunet.viewing.session import viewing
from slideunet.viewing.state import CLOSE
from slideunet.viewing.viewed_slide import find_slide

pytest.importorskip("neuroglancer", reason="pip install -r envs/requirements-view.txt")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r envs/requirements-dev.txt")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
YELLOW, CYAN, WHITE = (255, 208, 0), (0, 229, 255), (255, 255, 255)  # outlines: cells, true objects, the box
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


def shown(page, condition, milliseconds=60_000):
    """Wait until something holds in the page, asked of the viewer's own objects."""
    page.wait_for_function(condition, timeout=milliseconds, polling=200)


def opened(browser, address):
    """Open the page and wait for its first picture; return it and what went wrong in it, so far and later."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    problems = []
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    shown(page, "window.viewer && viewer.layerManager.managedLayers.length && viewer.isReady()")
    return page, problems


def click_a_cell(page, pixels):
    """Click beside an outline until the row of a cell is there."""
    y, x = np.argwhere(near(pixels, YELLOW)).mean(axis=0)
    for offset in range(0, 200, 8):
        page.mouse.click(x + offset, y)
        page.wait_for_timeout(500)
        if page.locator("#row").is_visible():
            return
    raise AssertionError("no row after any click")


def test_cells_are_on_the_tissue_and_a_click_shows_the_row(viewed, browser):
    asked = []
    with viewing(viewed) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        problems = []
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        first = wait_for(page, lambda p: near(p, YELLOW).sum() > 300 and near(p, CYAN).sum() > 300)
        # The drawn cells are bright on a dark ground, so grey of both is in the picture.
        grey = first[np.ptp(first, axis=-1) < 4].mean(axis=-1)
        assert ((grey > 5) & (grey < 90)).sum() > 10_000

        click_a_cell(page, first)
        cells = dict(zip(*[iter(page.locator("#row td").all_inner_texts())] * 2, strict=True))
        row = read_row(viewed.table, int(cells["cell"]))
        assert list(cells) == list(row)
        assert float(cells["area"]) == pytest.approx(row["area"], rel=1e-4)
        assert cells["touches_border"] in ("yes", "no")
        wait_for(page, lambda p: near(p, WHITE).sum() > near(first, WHITE).sum() + 50)
        page.keyboard.press("Escape")
        assert not page.locator("#row").is_visible()
        origin = "/".join(address.split("/")[:3])
    assert not problems
    assert len(asked) > 10
    assert not [url for url in asked if not url.startswith((origin, "data:", f"blob:{origin}"))]


@pytest.mark.parametrize("listed", [True, False])
def test_every_jump_arrives_with_clicks_between_them(viewed, browser, monkeypatch, listed):
    # Without a list of all cells, as on large slides, a pointer on a cell once stopped the page for ever.
    if not listed:
        monkeypatch.setattr(state, "MOST_PROPERTIES", 3)
    points = {f"{e.kind} {e.id}:": [e.x + 0.5, e.y + 0.5] for e in viewed.examples}
    assert len(points) == 2
    with viewing(viewed) as address:
        page, problems = opened(browser, address)
        click_a_cell(page, picture(page))
        for number in range(8):
            text, point = [*points.items()][number % 2]
            page.get_by_text(text, exact=False).first.click()
            shown(page, f"viewer.state.toJSON().position + '' === '{point[0]},{point[1]}'")
            shown(page, "viewer.isReady()")
            assert page.evaluate("viewer.state.toJSON().crossSectionScale") == CLOSE
            page.mouse.click(300 + 20 * number, 400)
        for key, text in (("n", 0), ("n", 1), ("Shift+N", 0), ("Shift+N", 1)):
            point = [*points.values()][text]
            page.mouse.move(400, 400)
            page.keyboard.press(key)
            shown(page, f"viewer.state.toJSON().position + '' === '{point[0]},{point[1]}'")
    assert not problems


def test_two_windows_show_what_each_was_moved_to(viewed, browser):
    with viewing(viewed) as address:
        one, _ = opened(browser, address)
        two, _ = opened(browser, address)
        before = two.evaluate("viewer.state.toJSON().position")
        one.keyboard.press("n")
        shown(one, f"viewer.state.toJSON().position + '' !== '{before[0]},{before[1]}'")
        two.wait_for_timeout(1000)
        assert two.evaluate("viewer.state.toJSON().position") == before


def test_a_place_is_shown_at_once(viewed, browser):
    with viewing(viewed, place=(40, 30)) as address:
        page, problems = opened(browser, address)
        assert page.evaluate("viewer.state.toJSON().position") == [30, 40]
    assert not problems


def test_a_chunk_that_is_lost_meanwhile_is_said(tmp_path, make_run, browser):
    slide = find_slide(make_run(tmp_path), "S1")
    page = browser.new_page()
    with viewing(slide) as address:
        (slide.image / "0/c/0/0/0").unlink()
        (slide.image / "1/c/0/0/0").unlink(missing_ok=True)
        page.goto(address)
        message = page.get_by_text("Damaged:", exact=False).first
        message.wait_for(timeout=60_000)
        assert message.is_visible()


def test_a_table_that_is_damaged_meanwhile_is_said(tmp_path, make_run, browser):
    slide = find_slide(make_run(tmp_path), "S1")
    with viewing(slide) as address:
        slide.table.write_bytes(b"PAR1")
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.goto(address)
        message = page.get_by_text("S1.parquet cannot be read", exact=False).first
        message.wait_for(timeout=60_000)
        assert message.is_visible()
        pixels = wait_for(page, lambda p: near(p, YELLOW).sum() > 300)
        y, x = (int(place) for place in np.argwhere(near(pixels, YELLOW)).mean(axis=0))
        page.mouse.move(x, y)
        shown(page, "viewer.layerSelectedValues.toJSON().cells?.value !== undefined")


@pytest.mark.parametrize("lost", ["prediction/labels/cells", "image/labels/truth", "prediction"])
def test_a_store_that_is_lost_meanwhile_leaves_the_other_layers(tmp_path, make_run, browser, lost):
    slide = find_slide(make_run(tmp_path), "S1")
    store, _, rest = lost.partition("/")
    with viewing(slide) as address:
        shutil.rmtree(slide.stores[store] / rest)
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.goto(address)
        kept = CYAN if store == "prediction" else YELLOW
        assert near(wait_for(page, lambda p: near(p, kept).sum() > 300), kept).sum() > 300
        page.get_by_text("Damaged:", exact=False).first.wait_for(timeout=60_000)


def test_in_a_narrow_window_the_list_is_below_the_slide(viewed, browser):
    with viewing(viewed) as address:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(address)
        shown(page, "window.viewer && viewer.layerManager.managedLayers.length && viewer.isReady()")
        slide = page.locator(".neuroglancer-rendered-data-panel").first.bounding_box()
        errors = page.locator(".neuroglancer-side-panel-column").first.bounding_box()
    assert slide["width"] > 370 and errors["width"] > 370
    assert 300 < slide["y"] + slide["height"] <= errors["y"] + 4 < 600
