"""The report in a real browser: what it asks for, runs and shows, and what a reader can do."""

import itertools
import re
import shutil

import pytest

from slideunet import quarantine
from slideunet.errors import InputError

playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r envs/requirements-dev.txt")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = ["0", "A.b-c_d", "Z" * 64, "a", "007", "s10", "s9", "x-", "E1", "E2", "u1", "u2"]
SPLITS = ["train", "val", *["test"] * 8, "predict", "predict"]
GROUPS = [HOSTILE, "b", *"cdefcdef", "\N{CJK UNIFIED IDEOGRAPH-7532}", "</script><script>alert(1)</script>"]
TEST = [name for name, split in zip(NAMES, SPLITS, strict=True) if split == "test"]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as programs:
        browser = programs.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def make_report(make_run_in, tmp_path_factory):
    def make(splits=SPLITS, names=NAMES, groups=GROUPS, **options):
        folder = tmp_path_factory.mktemp("report")
        error = InputError([f"slide Q.1: is damaged {HOSTILE}"])
        quarantine.put(folder / "results/quarantine", "Q.1", error)
        empty = (("E1", "truth"), ("E2", "prediction"))
        make_run_in(folder, splits, groups, names=names, empty=empty, **options)
        return folder / "results/report/report.html"

    return make


@pytest.fixture(scope="module")
def path(make_report):
    """A report with every allowed kind of id, hostile text, slides without cells, and one in quarantine."""
    return make_report()


@pytest.fixture
def open_page(browser):
    """Open a file; return the page, what it asks for, and all that goes wrong."""
    opened = []

    def show(path, anchor="", **options):
        context = browser.new_context(**options)
        opened.append(context)
        page = context.new_page()
        problems, asked = [], []
        page.on("console", lambda said: problems.append(said.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri() + anchor)
        asked = [url for url in asked if not url.startswith("data:")]
        return page, problems, asked

    yield show
    for context in opened:
        context.close()


def in_sight(page, name):
    box = page.locator(f"[id='slide-{name}']").bounding_box()
    return box is not None and 0 <= box["y"] < page.viewport_size["height"]


def column(page, table, number):
    rows = page.locator(f"{table} tbody tr:visible")
    return [row.locator("th, td").nth(number).inner_text().strip() for row in rows.all()]


def test_nothing_is_asked_for_and_nothing_hostile_runs(path, open_page):
    page, problems, asked = open_page(path)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    page.mouse.wheel(0, 50_000)
    page.wait_for_timeout(300)
    assert problems == []
    assert asked == [path.as_uri()]
    assert page.locator("script").count() == 1
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("h1").inner_text() == HOSTILE
    assert f"slide Q.1: is damaged {HOSTILE}" in page.locator(".warnings").first.inner_text()
    assert all(page.evaluate("[...document.images].map((image) => image.naturalWidth > 0)"))


def test_a_script_that_gets_into_the_page_is_refused(path, open_page, tmp_path):
    text = path.read_text()
    attack = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    attack += '<p style="color: red" id="styled"></p><img src="http://127.0.0.1:9/x.png">'
    (tmp_path / "attacked.html").write_text(text.replace("<main>", f"<main>{attack}"))
    page, problems, _ = open_page(tmp_path / "attacked.html")
    page.wait_for_timeout(300)
    assert page.title() == HOSTILE
    assert page.evaluate("getComputedStyle(document.getElementById('styled')).color") != "rgb(255, 0, 0)"
    refused = [text for text in problems if "Content Security Policy" in text]
    assert len(refused) >= 4
    assert page.locator("th button").count() > 0  # the page's own script runs


def test_tables_are_sorted_by_number_and_by_name(path, open_page):
    page, problems, _ = open_page(path)
    page.locator("#cases summary").click()
    table = "#cases table"
    before = column(page, table, 0)
    assert sorted(name.split()[0] for name in before) == sorted(TEST)
    dice = page.locator(f"{table} th button", has_text="Dice").first
    place = page.locator(f"{table} thead th").all_inner_texts().index("Dice")
    dice.click()
    assert page.locator(f"{table} th[aria-sort]").get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in column(page, table, place)]
    assert values == sorted(values)
    dice.click()
    assert [float(text) for text in column(page, table, place)] == sorted(values, reverse=True)
    page.locator(f"{table} th button", has_text="slide").click()
    names = [name.split()[0] for name in column(page, table, 0)]
    assert names.index("s9") < names.index("s10")
    assert page.locator(f"{table} th[aria-sort]").count() == 1
    assert problems == []


def test_tables_are_filtered_by_words_and_conditions(path, open_page):
    page, problems, _ = open_page(path)
    page.locator("#cases summary").click()
    table, field = "#cases table", page.locator("#cases .filter input")
    field.fill("s9")
    assert column(page, table, 0) == ["s9"]
    assert page.locator("#cases output").inner_text() == f"1 of {len(TEST)}"
    place = page.locator(f"{table} thead th").all_inner_texts().index("Dice")
    field.fill("")
    every = {n: float(v) for n, v in zip(column(page, table, 0), column(page, table, place), strict=True)}
    limit = sorted(every.values())[3]
    for sign, keeps in (("<", limit.__gt__), (">=", limit.__le__)):
        field.fill(f"dice{sign}{limit}")
        assert set(column(page, table, 0)) == {name for name, value in every.items() if keeps(value)}
    field.fill("<img onerror")
    assert len(column(page, table, 0)) == 4  # of the site with this name
    field.fill("no such slide")
    assert column(page, table, 0) == []
    assert problems == []


@pytest.mark.parametrize("name", [*NAMES, "Q.1"])
def test_every_slide_has_an_address(path, open_page, name):
    page, problems, _ = open_page(path, f"#slide-{name}")
    playwright.expect(page.locator(":focus")).to_have_attribute("id", re.compile("^slide-"))
    assert page.locator(f"[id='slide-{name}']").count() == 1
    assert in_sight(page, name)
    assert page.evaluate("document.activeElement.id") == f"slide-{name}"
    assert problems == []


def test_keys_go_through_the_slides_and_to_the_filter(path, open_page):
    page, problems, _ = open_page(path, viewport={"width": 1000, "height": 600})
    shown = [own.get_attribute("id") for own in page.locator(".case").all()]
    assert len(shown) == len(TEST) + 2
    for key, place in [("j", 0), ("j", 1), ("j", 2), ("k", 1), ("k", 0), ("k", 0)]:
        page.keyboard.press(key)
        # `wait_for_function` polls by `eval`, which the page's policy forbids.
        playwright.expect(page.locator(f"[id={shown[place]!r}]")).to_be_focused()
        assert in_sight(page, shown[place].removeprefix("slide-"))
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    page.keyboard.type("jk/")
    assert page.locator("#cases .filter input").input_value() == "jk/"
    assert page.locator(".keys").is_visible()
    assert problems == []


def test_without_script_everything_is_there(path, open_page):
    page, problems, _ = open_page(path, "#slide-s9", java_script_enabled=False)
    assert page.locator(".keys").is_hidden()
    assert page.locator("th button, .filter").count() == 0
    page.locator("#cases summary").click()
    assert len(column(page, "#cases table", 0)) == len(TEST)
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_page_without_scrolling_aside(path, open_page, scheme):
    page, _, _ = open_page(path, viewport={"width": 390, "height": 844}, is_mobile=True, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("[...document.querySelectorAll('.scroll')].some((e) => e.scrollWidth > 390)")
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    dark = [sum(map(int, re.findall(r"\d+", colour))) < 300 for colour in (ink, paper)]
    assert dark == ([True, False] if scheme == "light" else [False, True])


def test_paper_has_no_controls_but_all_that_is_folded(path, open_page):
    page, problems, _ = open_page(path, color_scheme="dark")
    folded = page.locator("details:not([open])").count()
    assert folded > 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    for part in ("nav", ".filter", ".keys"):
        assert not page.locator(f"{part}:visible").count()
    after = "(a) => getComputedStyle(a, '::after').content"
    assert "files/numbers/precision.csv" in page.locator("a[href$='precision.csv']").evaluate(after)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded
    assert page.pdf()[:4] == b"%PDF"
    assert problems == []


def test_links_lead_to_the_numbers_and_pictures_of_many_slides_beside_the_page(
    make_report, open_page, monkeypatch
):
    monkeypatch.setattr("slideunet.report.drawn_slides.WHOLE_UP_TO", 3)
    path = make_report()
    page, problems, asked = open_page(path)
    links = [link.get_attribute("href") for link in page.locator("a[href^='files/']").all()]
    assert sum(link.endswith(".webp") for link in links) == 3 * len(TEST) + 2 * 2
    assert all((path.parent / link).is_file() for link in links)
    assert {file.name for file in (path.parent / "files/numbers").iterdir()} == {
        link.rsplit("/")[-1] for link in links if link.endswith(".csv")
    }
    assert asked == [path.as_uri()]
    page.locator("a[href$='.truth.webp']").first.click()
    page.wait_for_url("**/*.truth.webp")
    assert page.locator("img").count() == 1
    assert problems == []


@pytest.mark.parametrize(
    ("splits", "groups"), [(["test"], ["g"]), (["predict"], ["g"]), (["test", "test"], ["g", "g"])]
)
def test_small_runs_are_whole_pages(make_report, open_page, splits, groups):
    names = ["E2", "s"][: len(splits)]
    page, problems, _ = open_page(make_report(splits, names, groups, history=None))
    page.keyboard.press("j")
    page.keyboard.press("/")
    assert all(page.evaluate("[...document.images].map((image) => image.naturalWidth > 0)"))
    assert "95 % intervals" not in page.locator("main").inner_text()
    assert problems == []


def test_who_does_not_see_the_page_finds_the_way(path, open_page):
    page, problems, _ = open_page(path, viewport={"width": 390, "height": 844})
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((own) => +own.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.locator("th").count() == page.locator("th", has_text=re.compile(r"\S")).count()
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    page.wait_for_timeout(300)
    boxes = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth)"
    assert len(page.evaluate(f"{boxes}.map(() => 0)")) > 3
    assert page.evaluate(f"{boxes}.every((box) => box.tabIndex === 0)")
    links = "[...document.querySelectorAll('a.numbers')]"
    lines = set(page.evaluate(f"{links}.map((own) => getComputedStyle(own).textDecorationLine)"))
    assert lines == {"underline"}
    assert problems == []
