"""The command and its page, on two runs with real stores: the second lacks cells of some slides."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from making import write_run
from pages import Elements
from schemas import schema_errors
from skimage.measure import label

import compare_earlier
import compare_runs
import score_slides
from slideunet.errors import DamagedDataError
from slideunet.report.page_environment import page_environment

SCRIPT = Path(compare_runs.__file__)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=alert(1)>"
SIZES = {"S1": (64, 51), "S2": (70, 55), "S3": (59, 83), "S4": (900, 1100)}


def write_stores(write_store, results, lost):
    """Write image, truth and cells of every slide; cells with an id up to `lost[slide]` are missing."""
    for number, (slide, size) in enumerate(SIZES.items()):
        random = np.random.default_rng(number)
        seeds = random.random(size) < 0.05
        truth = label(np.kron(seeds, np.ones((4, 4)))[: size[0], : size[1]], connectivity=1).astype(np.uint32)
        cells = np.where(truth > lost.get(slide, 0), truth, 0).astype(np.uint32)
        image = (random.normal(50, 5, (1, *size)) + 90 * (truth > 0)).astype(np.uint8)
        write_store(
            results / "slides" / f"{slide}.json",
            image,
            labels=truth,
            n_objects=int(truth.max()),
            statistics=[{"min": 30.0, "low": 40.0, "high": 150.0, "max": 160.0}],
            scale=1.0,
            content=f"pixels of {slide}",
            truth_content=f"labels of {slide}",
        )
        facts = {"fingerprint": "c", "n_cells": 1, "threshold": 0.5}
        probability = (cells > 0).astype(np.uint8)[None] * 255
        prediction = results / "predictions" / f"{slide}.json"
        write_store(prediction, probability, labels=cells, name="cells", cells=facts, model_sha256="ab" * 32)
    score_slides.main(
        slides=[*SIZES], slides_folder=results / "slides", predictions_folder=results / "predictions",
        metrics_folder=results / "metrics", manifest=results / "batches" / "b.json",
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory, write_store):
    folder = tmp_path_factory.mktemp("runs")
    for name, lost in {"a": {"S3": 3}, "b": {"S1": 2, "S4": 9}}.items():
        # Only the tables; the files of the slides are those of the stores.
        write_run(folder / name, [], summary={"title": HOSTILE, "date": "2000-01-02"})
        rows = ["slide\tgroup\tstratum\tsplit\tn_objects\tcontent"]
        rows += [f"{slide}\t{HOSTILE}{slide}\t\ttest\t\t" for slide in SIZES]
        (folder / name / "results/split.tsv").write_text("\n".join(rows) + "\n")
        write_stores(write_store, folder / name / "results", lost)
    return folder


@pytest.fixture
def runs(written, tmp_path):
    shutil.copytree(written, tmp_path / "runs")
    return [tmp_path / "runs/a", tmp_path / "runs/b"]


def compare(runs, out, **options):
    passed = compare_runs.main(run=runs, out=out, date="2000-01-02", **options)
    page = (out / "comparison.html").read_text(encoding="utf-8")
    content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert schema_errors("comparison", content) == []
    return passed, page, content


@pytest.mark.slow
def test_page_and_json_agree_with_the_scores(runs, tmp_path):
    passed, page, content = compare(runs, tmp_path / "new" / "out")
    assert passed is None
    assert content["passed"] is None
    scores = [
        {slide: json.loads((run / f"results/metrics/{slide}.json").read_text())["values"] for slide in SIZES}
        for run in runs
    ]
    means = [found for found in content["differences"] if found["averaging"] == "mean_over_slides"]
    own = [found for found in means if found["metric"] in scores[0]["S1"]]
    for found in own:
        gaps = [scores[1][slide][found["metric"]] - scores[0][slide][found["metric"]] for slide in SIZES]
        assert found["difference"] == pytest.approx(np.mean(gaps), abs=1e-12)
    metrics = {name for name in scores[0]["S1"] if not name.startswith("otsu_")}
    assert {found["metric"] for found in own} == metrics
    names = {found["metric"] for found in content["differences"]}
    assert {"count_error", "precision_lone", "hd95_px", "cell_ece", "boundary_f1", "pooled_pq"} <= names
    by_slide = {row["slide"]: row["values"]["ap50"] for row in content["slides"]}
    assert by_slide == {s: {"A": scores[0][s]["ap50"], "B": scores[1][s]["ap50"]} for s in SIZES}
    ap50 = next(found for found in content["differences"] if found["metric"] == "ap50")
    assert (ap50["better"], ap50["worse"]) == (1, 2)
    lost, gained = page.split("<h3>Lost most</h3>")[1].split("<h3>Gained most</h3>")
    assert re.findall(r"<figcaption><strong><a[^>]*>(\w+)</a></strong>", lost) in (["S1", "S4"], ["S4", "S1"])
    assert re.findall(r"<figcaption><strong><a[^>]*>(\w+)</a></strong>", gained) == ["S3"]
    assert re.search(r"rows \d+-\d+, columns \d+-\d+", lost)


@pytest.mark.slow
def test_page_is_whole_self_contained_and_escaped(runs, tmp_path):
    _, page, _ = compare(runs, tmp_path / "out", margin=0.5)
    elements = Elements(page)
    assert elements.open_tags == []
    assert not {tag for tag, _ in elements.tags} & {"iframe", "object", "link", "form"}
    images = [attributes for tag, attributes in elements.tags if tag == "img"]
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)
    assert len(images) == 3 + 3 * 4  # charts; image, truth and two predictions of three slides
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert HOSTILE not in page
    assert page.count("&lt;img src=x") >= 2 + 2 * len(SIZES) - 1
    policy = {"http-equiv": "Content-Security-Policy"}
    policies = [a["content"] for tag, a in elements.tags if tag == "meta" and policy.items() <= a.items()]
    assert policies == [page_environment("report").globals["policy"]]
    assert compare(runs, tmp_path / "again", margin=0.5)[1] == page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_browser_shows_it_without_an_error_a_request_or_a_scroll_bar_below(runs, tmp_path):
    programs = pytest.importorskip("playwright.sync_api", reason="pip install -r envs/requirements-dev.txt")
    compare(runs, tmp_path / "out", margin=0.5)
    found = []
    with programs.sync_playwright() as playing:
        browser = playing.chromium.launch(executable_path=CHROMIUM)
        for width, scheme in ((1280, "light"), (390, "light"), (1280, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            for event in ("console", "pageerror", "dialog", "requestfailed"):
                page.on(event, lambda what, event=event: found.append((event, str(what))))
            page.on("request", lambda request: found.append(request.url[:200]))
            page.goto((tmp_path / "out/comparison.html").as_uri())
            broken = "[...document.images].filter(i => i.loading != 'lazy' && !i.naturalWidth).length"
            assert page.evaluate(broken) == 0
            root = "document.documentElement"
            assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0, (width, scheme)
        browser.close()
    assert [what for what in found if not str(what).startswith(("data:", "file:"))] == []


@pytest.mark.slow
def test_a_metric_that_is_better_when_lower_says_so(runs, tmp_path):
    passed, page, content = compare(runs, tmp_path / "out", metric="fn_50", margin=1.0)
    assert passed is False
    assert "Missed objects of a slide&nbsp;↓" in page
    high = next(found["interval"][1] for found in content["differences"] if found["metric"] == "fn_50")
    assert high > 1 and f"upper end of the interval +{high:.3f}" in page
    lost = page.split("<h3>Lost most</h3>")[1].split("<h3>Gained most</h3>")[0]
    assert re.findall(r"<figcaption><strong><a[^>]*>(\w+)</a></strong>", lost) == ["S4", "S1"]


@pytest.mark.slow
def test_without_stores_there_are_numbers_and_no_pictures(runs, tmp_path):
    shutil.rmtree(runs[1] / "results/predictions/S1.zarr")
    _, page, _ = compare(runs, tmp_path / "out")
    assert page.count("No pictures: pixels or labels are no longer there") == 1
    assert len([tag for tag, _ in Elements(page).tags if tag == "img"]) == 3 + 2 * 4


@pytest.mark.slow
def test_a_damaged_store_is_an_error_with_its_file(runs, tmp_path):
    shards = [
        path for path in (runs[1] / "results/predictions/S1.zarr/labels/cells/0").rglob("*") if path.is_file()
    ]
    for path in shards:
        if path.name != "zarr.json":
            path.write_bytes(b"damaged")
    with pytest.raises(DamagedDataError, match="S1"):
        compare(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_against_itself_has_no_changes(runs, tmp_path, capsys):
    passed, page, _ = compare([runs[0], runs[0]], tmp_path / "out", margin=0.0)
    assert passed is True
    assert "No slide gained or lost." in page
    assert (
        "ap50 +0.0000 (95 % interval +0.0000 to +0.0000), 4 slides of 4 groups; not worse"
        in capsys.readouterr().out
    )


@pytest.mark.slow
def test_a_run_is_compared_with_the_first_of_the_earlier_ones(runs, tmp_path):
    outputs = {"page": tmp_path / "new/c.html", "numbers": tmp_path / "new/c.json"}
    earlier, run = [runs[0], runs[0]], runs[1]
    compare_earlier.main(earlier=earlier, run=run, command="repeat", date="2000-01-02", **outputs)
    content = json.loads(outputs["numbers"].read_text(encoding="utf-8"))
    assert [entry["folder"] for entry in content["runs"]] == [str(folder) for folder in [*earlier, run]]
    _, _, alone = compare(runs, tmp_path / "out")
    expected = {found["metric"]: found["difference"] for found in alone["differences"]}
    assert {f["metric"]: f["difference"] for f in content["differences"] if f["run"] == "C"} == expected
    assert "<pre>repeat</pre>" in outputs["page"].read_text(encoding="utf-8")


@pytest.mark.slow
def test_exit_codes(runs, tmp_path):
    a, b = (f"--run={run}" for run in runs)

    def code(*options):
        command = [sys.executable, SCRIPT, *options, f"--out={tmp_path / 'out'}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout + result.stderr

    assert code(a, b, "--margin=1")[0] == 0
    status, text = code(a, b, "--margin=0.001")
    assert (status, "may be WORSE by more than 0.001" in text) == (1, True)
    (tmp_path / "file").touch()
    # Code 1 would say that a run is worse.
    command = [sys.executable, SCRIPT, a, b, f"--out={tmp_path / 'file' / 'out'}"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 4
    status, text = code(a, "--run=/nowhere", b, "--run=/neither")
    assert (status, text.count("is no run of slideunet")) == (2, 2)
