import re

import numpy as np
import pandas as pd
import pytest
from pages import Elements

from slideunet import quarantine
from slideunet.errors import InputError
from slideunet.provenance.machine import Machine
from slideunet.provenance.rule_costs import RuleCost
from slideunet.provenance.run_provenance import RunProvenance
from slideunet.provenance.workflow_state import WorkflowState
from slideunet.report.page_environment import page_environment
from slideunet.stores.manifests import read_manifest, write_manifest

HOSTILE = "<img src=x onerror=alert(1)>"
SPLITS = ["train", "train", "val", "test", "test", "test", "predict"]


@pytest.mark.slow
def test_table_and_summary_agree_with_the_arrays(make_run):
    (_, table, summary), truths = make_run(SPLITS)
    rows = pd.read_csv(table, dtype={"slide": str})
    assert rows["slide"].tolist() == ["000", "001", "002", "003", "004", "005"]
    pixels, cells = "accuracy precision recall dice iou otsu_dice", "ap50 ap75 map f1_50 pq aji"
    contract = f"slide group split n_true n_pred {pixels} {cells}"
    assert set(contract.split()) <= set(rows.columns)
    expected = [truths[slide].dice for slide in rows["slide"]]
    assert rows["dice"].tolist() == pytest.approx(expected)
    test = summary["splits"]["test"]
    pooled = truths["003"] + truths["004"] + truths["005"]
    assert test["mean"]["dice"] == pytest.approx(np.mean(expected[3:]))
    assert test["pooled"]["iou"] == pytest.approx(pooled.iou)
    assert test["intervals"]["dice"][0] <= test["mean"]["dice"] <= test["intervals"]["dice"][1]
    assert summary["splits"]["predict"]["n_slides"] == 0
    assert summary["model_sha256"] == "ab" * 32


@pytest.mark.slow
def test_headline_is_of_test_slides_only(make_run):
    (page, _, summary), _ = make_run(SPLITS)
    shown = re.search(r'Test Dice</dt><dd class="value">([\d.]+)', page).group(1)
    assert shown == f"{summary['splits']['test']['mean']['dice']:.3f}"
    assert "Mean over 3 test slides of 3 groups" in page
    assert "<code>make view SLIDE=" in page and "AT=y,x" in page


@pytest.mark.slow
def test_page_is_whole_self_contained_and_escaped(make_run):
    (page, table, _), _ = make_run(SPLITS)
    elements = Elements(page)
    assert elements.open_tags == []
    assert "separated into cells by watershed on the Euclidean distance to the background" in page
    tags = {tag for tag, _ in elements.tags}
    assert not tags & {"iframe", "object", "link", "form", "b"}
    assert sum(tag == "script" for tag, _ in elements.tags) == 1
    images = [attributes for tag, attributes in elements.tags if tag == "img"]
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)
    crops = page.count("tile of 64 px")
    assert len(images) == 3 * 3 + 2 + 8 + crops  # test slides, unlabelled slide, figures, errors
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert not re.search(r"""(src|href|url\()\s*=?\s*["']?https?:""", page)
    policy = {"http-equiv": "Content-Security-Policy"}
    policies = [a["content"] for tag, a in elements.tags if tag == "meta" and policy.items() <= a.items()]
    assert policies == [page_environment("report").globals["policy"]]
    assert "unsafe" not in policies[0]
    assert not any("style" in attributes for _, attributes in elements.tags)
    assert HOSTILE not in page
    assert page.count("&lt;img src=x") >= 4  # title, warning, metadata, configuration
    assert "'=1+1" in table.read_text()


def test_fewer_than_three_groups_give_no_interval_and_say_so(make_run):
    (page, _, summary), _ = make_run(["train", "val", "test", "test"], groups=["a", "b", "c", "c"])
    assert summary["splits"]["test"]["intervals"]["dice"] is None
    assert "fewer than 3 test groups" in page
    assert "no interval: 1 group" in page
    reason = "no intervals, because fewer than 3 groups were tested"
    assert page.count(reason) == 4  # of precision, distances, calibration and sizes
    assert "95 % intervals" not in page


def test_a_run_without_labels_claims_no_accuracy(make_run):
    (page, table, summary), _ = make_run(["predict", "predict"], title=None, history=None)
    assert "No accuracy is claimed" in page
    assert "Cell segmentation report" in page
    assert len(pd.read_csv(table)) == 0
    assert "dice" in pd.read_csv(table).columns
    assert summary["n_cells"] > 0


@pytest.mark.slow
def test_large_slides_show_a_part_and_an_overview(make_run):
    (page, _, _), _ = make_run(["test"], size=(900, 1100))
    assert re.search(r"rows \d+-\d+, columns \d+-\d+", page)
    assert "overview with the shown part framed" in page


@pytest.mark.slow
def test_errors_are_counted_and_shown(make_run):
    (page, table, _), _ = make_run(SPLITS)
    section = re.search(r'<section id="errors">.*?</section>', page, re.DOTALL).group()
    rows = pd.read_csv(table, dtype={"slide": str})
    rows = rows[rows["split"] == "test"]
    columns = {"Missed": "fn_50", "False": "fp_50", "Split": "splits", "Merged": "merges"}
    shown = dict(re.findall(r"<h3>(\w+): (\d+)</h3>", section))
    assert shown == {kind: str(rows[column].sum()) for kind, column in columns.items()}
    assert 0 < section.count("<img") == section.count("· no cell there") <= int(shown["Missed"])
    assert re.findall(r"<strong><a[^>]*>(\d+)</a></strong>", section)[0] in rows["slide"].tolist()


@pytest.mark.slow
def test_slides_that_the_network_saw_at_another_scale_are_counted(make_run, report, tmp_path):
    (page, _, _), _ = make_run(["test", "test", "predict"])
    assert "reduced or enlarged" not in page
    for slide, scale in (("000", 2.0), ("001", 1.0), ("002", 0.5)):
        path = tmp_path / "results/predictions" / f"{slide}.json"
        write_manifest(path, read_manifest(path) | {"cell_size": {"scale": scale, "diameter": 30.0}})
    page, _, _ = report()
    assert "2 slides with cells larger or smaller than suits the model were reduced or enlarged" in page


@pytest.mark.slow
def test_a_slide_that_failed_earlier_is_a_warning(make_run, report, tmp_path):
    make_run(SPLITS)
    for path in ("slides/004.json", "metrics/005.json"):
        (tmp_path / "results" / path).unlink()
    _, table, summary = report(sheet=None, by=[])
    assert "slide 004: was not converted; this report does not include it" in summary["warnings"]
    assert "slide 005: has labels but was not scored" in summary["warnings"]
    assert pd.read_csv(table, dtype=str)["slide"].tolist() == ["000", "001", "002", "003"]


@pytest.mark.slow
def test_same_inputs_give_the_same_page(make_run):
    first = make_run(SPLITS)[0][0]
    assert make_run(SPLITS)[0][0] == first


@pytest.mark.slow
def test_slides_that_were_set_aside_are_listed_escaped(make_run, tmp_path):
    error = InputError(["slide X1: is damaged.", HOSTILE])
    quarantine.put(tmp_path / "results/quarantine", "X1", error)
    page, _, summary = make_run(["train", "val", "test", "test"])[0]
    assert summary["quarantined"] == {"X1": ["slide X1: is damaged.", HOSTILE]}
    assert "1 slide not in these results" in page
    assert "slide X1: is damaged." in page
    assert HOSTILE not in page


def test_the_origin_of_the_run_is_told(make_run):
    provenance = RunProvenance(
        workflow=WorkflowState("c0ffee", ("workflow/<b>.py",)),
        machine=Machine("Linux 9 x86_64", "Fast 9000", 12, 64.2, ("GPU A, 81559 MiB",)),
        started="2000-01-01T00:00:00+00:00",
        ended="2000-01-02T00:00:00+00:00",
        rules=(
            RuleCost("train_unet", 2, 7200.0, 9000.0, 996.1),
            RuleCost("split_slides", 1, 0.4, None, None),
        ),
    )
    splits = ["predict", "predict"]
    page, _, summary = make_run(splits, title=None, history=None, provenance=provenance)[0]
    section = page[page.index('<section id="provenance">') :]
    text = re.sub(r"\s+", " ", re.sub(r"</?t[dhr][^>]*>", " ", section))
    text = re.sub(r"<[^>]*>", "", text)
    assert "commit c0ffee, changed: workflow/&lt;b&gt;.py" in text
    assert "Fast 9000, 12 cores, 64.2 GB of memory; GPU A, 81559 MiB; Linux 9 x86_64" in text
    assert "train_unet 2 2.0 h 2.5 h 996 MB" in re.sub(r"\s+", " ", text)
    assert re.findall(r'<rect width="([\d.]+)"', section) == ["100.0", "100.0", "0.0", "0.0"]
    assert summary["data_sha256"] in text
    assert summary["provenance"]["rules"][1] == {
        "rule": "split_slides", "jobs": 1, "seconds": 0.4, "cpu_seconds": None, "memory_mb": None,
    }  # fmt: skip
    assert summary["provenance"]["workflow"]["changed"] == ["workflow/<b>.py"]
    assert make_run(splits, title=None, history=None)[0][2]["provenance"] is None
