"""Which slides of which runs are compared, and why others are not."""

import json

import pytest
from making import write_run

from slideunet.comparison.comparison import compare_runs
from slideunet.comparison.pairing import pair_slides
from slideunet.comparison.read_runs import read_runs
from slideunet.errors import DamagedDataError, InputError

VALUES = {"ap50": 0.5, "dice": 0.5}


def slide(name, **facts):
    return {"slide": name, "values": VALUES} | facts


def pair(*folders, split="test"):
    return pair_slides(read_runs(folders), split)


def problems_of(*folders, **options):
    with pytest.raises(InputError) as caught:
        compare_runs(folders, **options)
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_slides_are_paired_by_pixels_not_by_name(tmp_path):
    a = write_run(tmp_path / "a", [slide("S1", content="x", truth="t"), slide("S2", content="y", truth="u")])
    b = write_run(tmp_path / "b", [slide("S2", content="x", truth="t"), slide("S1", content="y", truth="u")])
    pairs, unpaired = pair(a, b)
    assert [[s.slide for s in pair.slides] for pair in pairs] == [["S1", "S2"], ["S2", "S1"]]
    assert unpaired == []


def test_slides_with_equal_pixels_are_paired_in_the_order_of_their_ids(tmp_path):
    equal = {"content": "blank", "truth": "t"}
    a = write_run(tmp_path / "a", [slide("B", **equal), slide("A", **equal), slide("C")])
    b = write_run(tmp_path / "b", [slide("X", **equal), slide("C")])
    pairs, unpaired = pair(a, b)
    assert [[s.slide for s in pair.slides] for pair in pairs] == [["A", "X"], ["C", "C"]]
    assert [(entry.run, entry.slide, entry.reason) for entry in unpaired] == [("A", "B", "not in B")]


def test_slides_that_are_not_in_all_runs_are_listed_with_the_reason(tmp_path):
    names = ("all", "own", "plain", "bad", "other")
    a = write_run(tmp_path / "a", [slide(name) for name in names])
    plain = slide("plain", truth=None, values=None, split="predict")
    b = write_run(
        tmp_path / "b",
        [slide("all"), plain, slide("other", content="else"), slide("new")],
        quarantined=["bad"],
    )
    pairs, unpaired = pair(a, b)
    assert [pair.slide for pair in pairs] == ["all"]
    assert {(entry.run, entry.slide): entry.reason for entry in unpaired} == {
        ("A", "own"): "not in B",
        ("A", "plain"): "no ground truth in B",
        ("A", "bad"): "skipped by B (in quarantine)",
        ("A", "other"): "other pixels in B under the same id",
        ("B", "other"): "other pixels in A under the same id",
        ("B", "new"): "not in A",
    }


def test_only_slides_of_the_split_are_compared(tmp_path):
    slides = [slide("T"), slide("V", split="val"), slide("P", split="predict", truth=None, values=None)]
    folders = [write_run(tmp_path / name, slides) for name in "ab"]
    assert [pair.slide for pair in pair(*folders)[0]] == ["T"]
    assert [pair.slide for pair in pair(*folders, split="val")[0]] == ["V"]


def test_all_reasons_against_a_comparison_come_at_once(tmp_path):
    a = write_run(tmp_path / "a", [slide(f"S{number}", group=f"g{number // 2}") for number in range(8)])
    b = write_run(
        tmp_path / "b",
        [
            slide("S0", group="g0", truth="others"),
            slide("S1", group="g0", split="train"),
            slide("S2", group="g1", mpp=0.25),
            slide("S3", group="g9"),
            slide("S6", group="g3", content="half the pixels", mpp=1.0),
        ],
    )
    c = write_run(tmp_path / "c", [slide(f"S{number}", group=f"g{number // 2}") for number in range(8)])
    problems = problems_of(a, b, c)
    assert [problem.split(".")[0] for problem in problems] == [
        f"B={b}: the ground truth is not that of A for S0",
        f"B={b}: the resolution is not that of A for S2 (0",
        f"B={b}: the split is not that of A for S1 (test, train)",
        f"B={b}: the groups are not those of A for S2, S3",
        f"B={b}: the resolution is not that of A for S6 (0",
    ]
    assert "S6 (0.5 µm per pixel, 1 µm per pixel)" in problems[-1]


def test_groups_may_have_other_names(tmp_path):
    a = write_run(tmp_path / "a", [slide("S1", group="p"), slide("S2", group="p"), slide("S3", group="q")])
    b = write_run(tmp_path / "b", [slide("S1", group="1"), slide("S2", group="1"), slide("S3", group="2")])
    assert [pair.group for pair in pair(a, b)[0]] == ["p", "p", "q"]


def test_runs_without_a_slide_in_common_are_refused(tmp_path):
    a, b = write_run(tmp_path / "a", [slide("S1")]), write_run(tmp_path / "b", [slide("S2")])
    (problem,) = problems_of(a, b)
    assert problem.startswith(
        "No slide with ground truth in the split 'test' has the same pixels in all runs"
    )
    unlabelled = slide("S1", truth=None, values=None, split="predict")
    folders = [write_run(tmp_path / name, [unlabelled]) for name in "cd"]
    assert "(A has 0, B has 0 such slides)" in problems_of(*folders)[0]


def test_folders_that_are_no_runs_are_named_together(tmp_path):
    (tmp_path / "empty").mkdir()
    a = write_run(tmp_path / "a", [slide("S1")])
    problems = problems_of(tmp_path / "none", a, tmp_path / "empty")
    assert [problem.split(". ")[0] for problem in problems] == [
        f"A={tmp_path / 'none'}: is no run of slideunet, there is no such folder",
        f"C={tmp_path / 'empty'}: is no run of slideunet, it has no results/split.tsv",
    ]
    assert problems_of(a)[0].startswith("A comparison needs at least two runs")


def test_the_results_folder_may_be_named_too(tmp_path):
    a = write_run(tmp_path / "a", [slide("S1")])
    assert len(pair(a, a / "results")[0]) == 1


def change(path, **facts):
    content = json.loads(path.read_text()) | facts
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "gone"}))


def test_what_an_older_or_unfinished_run_lacks_is_named(tmp_path):
    a = write_run(tmp_path / "a", [slide("S1"), slide("S2"), slide("S3"), slide("S4")])
    b = write_run(tmp_path / "b", [slide("S1")])
    change(a / "results/slides/S1.json", truth_content="gone")
    change(a / "results/metrics/S2.json", values="gone")
    (a / "results/metrics/S3.json").unlink()
    (a / "results/slides/S4.json").unlink()
    (b / "results/split.tsv").write_text("slide\tsplit\nS1\ttest\n")
    problems = problems_of(a, b)
    assert [problem.split(". ")[0] for problem in problems] == [
        f"A={a}: results/slides lacks `truth_content` for S1",
        f"A={a}: results/metrics lacks `values` for S2",
        f"A={a}: the run is not finished: S4 is not converted",
        f"A={a}: the run is not finished: S3 is without scores",
        f"B={b}: split.tsv lacks the columns group",
    ]
    assert "An older version of slideunet wrote it" in problems[0]


def test_scores_by_an_older_version_are_refused_with_what_to_do(tmp_path):
    a = write_run(tmp_path / "a", [slide("S1"), slide("S2", version="3"), slide("S3", version="2")])
    b = write_run(tmp_path / "b", [slide("S1"), slide("S2"), slide("S3")])
    content = json.loads((b / "results/metrics/S3.json").read_text())
    del content["metrics_version"], content["boundaries"]  # as the first versions wrote them
    (b / "results/metrics/S3.json").write_text(json.dumps(content))
    problems = problems_of(a, b)
    assert [problem.split(", this program")[0] for problem in problems] == [
        f"A={a}: the scores of S2, S3 are by version 2 and 3 of the metrics",
        f"B={b}: the scores of S3 are by version unknown of the metrics",
    ]
    assert all("Run this version of the workflow in that folder" in problem for problem in problems)


def test_a_damaged_file_is_named(tmp_path):
    a, b = (write_run(tmp_path / name, [slide("S1")]) for name in "ab")
    (b / "results/metrics/S1.json").write_text("{")
    with pytest.raises(DamagedDataError, match=r"S1\.json is not readable"):
        pair(a, b)


def test_long_lists_are_shortened(tmp_path):
    a = write_run(tmp_path / "a", [slide(f"S{number:02d}") for number in range(30)])
    b = write_run(tmp_path / "b", [slide(f"S{number:02d}", truth="other") for number in range(30)])
    (problem,) = problems_of(a, b)
    assert "S00, S01, S02, S03, S04, S05, S06, S07 and 22 more." in problem
