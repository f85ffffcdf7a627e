"""Differences, their intervals and the verdict, against SciPy and a direct resampling."""

import json
import math

import numpy as np
import pytest
from making import random_score, write_run
from scipy.stats import bootstrap, ttest_ind

from slideunet.comparison.comparison import compare_runs, comparison_json
from slideunet.comparison.differences import by_gain
from slideunet.comparison.metrics import sign_of
from slideunet.errors import InputError
from slideunet.report.tables import NOTHING
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import Score


@pytest.fixture
def compare(tmp_path):
    """Compare runs given by values {metric: array (n,)} of slides in groups."""

    def make(*runs, groups=None, summaries=(), **options):
        n = len(next(iter(runs[0].values())))
        groups = groups or [f"g{number}" for number in range(n)]
        folders = []
        for number, metrics in enumerate(runs):
            values = [{name: column[i] for name, column in metrics.items()} for i in range(n)]
            slides = [{"slide": f"S{i:03d}", "group": groups[i], "values": values[i]} for i in range(n)]
            summary = summaries[number] if summaries else None
            folders.append(write_run(tmp_path / f"run{number}", slides, summary=summary))
        return compare_runs(folders, **options)

    return make


def of(comparison, metric, run="B"):
    return next(found for found in comparison.of(run) if found.metric == metric)


def test_differences_equal_those_of_arrays(compare):
    random = np.random.default_rng(0)
    a, b, c = (random.random(23).tolist() for _ in range(3))
    comparison = compare({"ap50": a, "dice": b}, {"ap50": b, "dice": c}, {"ap50": c, "dice": a})
    found = of(comparison, "ap50", "C")
    assert found.difference == pytest.approx(np.mean(c) - np.mean(a))
    assert (found.first, found.other) == (pytest.approx(np.mean(a)), pytest.approx(np.mean(c)))
    assert (found.better, found.worse) == (np.greater(c, a).sum(), np.less(c, a).sum())
    assert (found.n_slides, found.n_groups) == (23, 23)
    assert of(comparison, "dice").difference == pytest.approx(np.mean(c) - np.mean(b))


def test_the_interval_is_that_of_scipy_when_every_slide_is_a_group(compare):
    random = np.random.default_rng(1)
    a = random.random(31)
    b = a + random.normal(0.02, 0.05, 31)
    interval = of(compare({"ap50": a.tolist()}, {"ap50": b.tolist()}), "ap50").interval
    oracle = bootstrap(
        (b - a,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    width = oracle.high - oracle.low
    np.testing.assert_allclose(interval, oracle, atol=0.06 * width)
    # Not paired, the spread between slides would hide the difference.
    apart = bootstrap(
        (b, a), lambda x, y, axis: x.mean(axis) - y.mean(axis), method="percentile", rng=5
    ).confidence_interval
    assert width < 0.5 * (apart.high - apart.low)


def test_the_interval_is_that_of_a_direct_resampling_of_whole_groups(compare):
    random = np.random.default_rng(2)
    sizes = [1, 2, 3, 4, 5, 6, 7, 8]
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    shift = np.repeat(random.normal(0.0, 0.1, len(sizes)), sizes)
    a = random.random(len(groups))
    b = a + shift + random.normal(0, 0.01, len(groups))
    interval = of(compare({"ap50": a.tolist()}, {"ap50": b.tolist()}, groups=groups), "ap50").interval
    means = []
    members = [np.flatnonzero(np.array(groups) == name) for name in dict.fromkeys(groups)]
    for _ in range(20_000):
        drawn = np.concatenate([members[i] for i in random.integers(0, len(members), len(members))])
        means.append(b[drawn].mean() - a[drawn].mean())
    oracle = np.percentile(means, [2.5, 97.5])
    np.testing.assert_allclose(interval, oracle, atol=0.06 * np.ptp(oracle))


@pytest.mark.parametrize("groups", [list("aaaa"), list("aabb")])
def test_fewer_than_three_groups_have_no_interval_and_say_so(compare, groups):
    comparison = compare({"ap50": [0.5] * 4}, {"ap50": [0.4] * 4}, groups=groups, margin=0.2)
    assert of(comparison, "ap50").interval is None
    assert any(note.startswith("No intervals: ") for note in comparison.notes)
    assert [(verdict.judged_by, verdict.passed) for verdict in comparison.verdicts] == [("difference", True)]


def test_one_slide_is_compared_without_an_interval(compare):
    comparison = compare({"ap50": [0.5]}, {"ap50": [0.75]})
    found = of(comparison, "ap50")
    assert (found.difference, found.interval, found.n_groups) == (0.25, None, 1)
    assert comparison.passed is None
    assert json.loads(json.dumps(comparison_json(comparison), allow_nan=False))["n_slides"] == 1


def test_the_verdict_is_on_the_lower_end_of_the_interval(compare):
    a = np.full(12, 0.8)
    b = a + np.array([-0.06, 0.04] * 6)  # mean -0.01, and slides differ
    comparison = compare({"ap50": a.tolist()}, {"ap50": b.tolist()}, margin=0.02)
    low = of(comparison, "ap50").interval[0]
    assert low < -0.02 < of(comparison, "ap50").difference
    assert comparison.verdicts[0].least_gain == low
    assert comparison.passed is False


@pytest.mark.parametrize(
    ("margin", "passed"), [(0.0, (True, False)), (0.01, (True, True)), (0.0099, (True, False))]
)
def test_a_run_passes_up_to_the_margin_and_every_run_is_judged(compare, margin, passed):
    a = {"ap50": [0.90] * 5}
    comparison = compare(a, {"ap50": [0.91] * 5}, {"ap50": [0.89] * 5}, margin=margin)
    assert tuple(verdict.passed for verdict in comparison.verdicts) == passed
    assert comparison.passed is all(passed)


def test_lower_is_better_for_distances_and_errors(compare):
    assert sign_of("hd95") == sign_of("hd95_um") == sign_of("count_error") == sign_of("foreground_ece") == -1
    assert sign_of("ap50") == sign_of("boundary_f1") == sign_of("semantic_dice") == 1
    comparison = compare({"hd95": [5.0, 4.0, 3.0]}, {"hd95": [4.0, 3.0, 4.5]}, metric="hd95", margin=0.1)
    found = of(comparison, "hd95")
    assert (found.better, found.worse) == (2, 1)
    assert comparison.verdicts[0].least_gain == -found.interval[1]
    assert comparison.passed is False
    assert [(pair.slide, gain) for pair, gain in by_gain(comparison.pairs, "hd95", 1)] == [
        ("S002", -1.5), ("S000", 1.0), ("S001", 1.0),
    ]  # fmt: skip


def test_a_metric_that_a_slide_cannot_have_leaves_the_slide_out(compare):
    ap50 = {"ap50": [0.5, 0.5, 0.6]}
    comparison = compare(ap50 | {"hd95": [2.0, None, 4.0]}, ap50 | {"hd95": [1.0, 7.0, 4.0]})
    found = of(comparison, "hd95")
    assert (found.n_slides, found.first, found.other, found.difference) == (2, 3.0, 2.5, -0.5)
    assert comparison_json(comparison)["slides"][1]["values"]["hd95"] == {"A": None, "B": 7.0}


def test_a_metric_that_is_not_there_is_refused_with_the_reason(compare, tmp_path):
    compare({"ap50": [0.5] * 3, "otsu_dice": [0.1] * 3}, {"ap50": [0.6] * 3})
    folders = [tmp_path / "run0", tmp_path / "run1"]
    with pytest.raises(InputError, match=r"METRIC=ap5: no run has this metric\. Did you mean ap50\?"):
        compare_runs(folders, metric="ap5")
    # Without a matched cell there is no distance: "not worse" would be said of nothing.
    with pytest.raises(InputError, match="METRIC=pooled_hd95_um: it is not defined in all runs"):
        compare_runs(folders, metric="pooled_hd95_um", margin=1)
    with pytest.raises(InputError, match="METRIC=otsu_dice: no run has this metric"):
        compare_runs(folders, metric="otsu_dice")


def write_scores(folder, scores, groups=None, **facts):
    slides = [{"slide": f"S{i:03d}", "score": score} | facts for i, score in enumerate(scores)]
    for slide, group in zip(slides, groups or (), strict=False):
        slide["group"] = group
    return write_run(folder, slides)


def test_pooled_differences_are_those_of_the_added_counts(tmp_path):
    random = np.random.default_rng(3)
    runs = [[random_score(random) for _ in range(7)] for _ in range(3)]
    comparison = compare_runs([write_scores(tmp_path / str(i), run) for i, run in enumerate(runs)])
    values = [sum(run, NOTHING).values() for run in runs]
    for metric in ("dice", "ap50", "map", "pq", "aji", "semantic_dice"):
        found = of(comparison, f"pooled_{metric}", "C")
        assert (found.first, found.other) == pytest.approx((values[0][metric], values[2][metric]))
        assert found.difference == pytest.approx(values[2][metric] - values[0][metric])
        assert found.averaging == "pooled"
        mean = of(comparison, metric, "C")
        means = [np.mean([score.values()[metric] for score in run]) for run in runs]
        assert (mean.first, mean.other) == pytest.approx((means[0], means[2]))
        assert mean.averaging == "mean_over_slides" and mean.difference != found.difference
        gaps = [c.values()[metric] - a.values()[metric] for a, c in zip(runs[0], runs[2], strict=True)]
        assert (found.better, found.worse) == (sum(g > 1e-9 for g in gaps), sum(g < -1e-9 for g in gaps))


def test_the_interval_of_a_pooled_difference_is_that_of_a_direct_resampling_of_whole_groups(tmp_path):
    random = np.random.default_rng(4)
    groups = [f"g{number}" for number, size in enumerate([1, 2, 1, 3, 1, 2]) for _ in range(size)]
    runs = [[random_score(random) for _ in groups] for _ in range(2)]
    comparison = compare_runs([write_scores(tmp_path / str(i), run, groups) for i, run in enumerate(runs)])
    members = [np.flatnonzero(np.array(groups) == name) for name in dict.fromkeys(groups)]
    gaps = []
    for _ in range(4000):
        drawn = np.concatenate([members[i] for i in random.integers(0, len(members), len(members))])
        sums = [sum((run[i].instances for i in drawn), InstanceCounts()) for run in runs]
        gaps.append(sums[1].pq - sums[0].pq)
    oracle = np.percentile(gaps, [2.5, 97.5])
    np.testing.assert_allclose(of(comparison, "pooled_pq").interval, oracle, atol=0.08 * np.ptp(oracle))


def test_errors_of_counts_cancel_when_they_are_pooled_and_not_in_their_mean(tmp_path):
    def score(n_true, n_pred):
        return Score(PixelCounts(), PixelCounts(), PixelCounts(), InstanceCounts(n_true, n_pred))

    runs = [[score(10, 14), score(10, 6)], [score(10, 11), score(10, 11)]]
    folders = [write_scores(tmp_path / str(i), run) for i, run in enumerate(runs)]
    comparison = compare_runs(folders, metric="pooled_count_error_percent", margin=0)
    mean, pooled = of(comparison, "count_error"), of(comparison, "pooled_count_error_percent")
    assert (mean.first, mean.other, mean.better) == (4.0, 1.0, 2)
    assert (pooled.first, pooled.other) == pytest.approx((0.0, 200 * 2 / 42))
    assert comparison.passed is False
    values = comparison_json(comparison)["slides"][1]["values"]["count_error"]
    assert values == {"A": -4.0, "B": 1.0}


def test_an_area_needs_a_pixel_size(tmp_path):
    pixels = PixelCounts(tp=1_000_000)
    scores = [Score(pixels, pixels, pixels, InstanceCounts(10, 10, tp=(n,) * 10)) for n in (9, 7)]
    folders = [write_scores(tmp_path / str(n), [score], mpp=0.5) for n, score in enumerate(scores)]
    found = of(compare_runs(folders), "pooled_false_per_mm2")
    assert (found.first, found.other) == pytest.approx((1 / 0.25, 3 / 0.25))
    assert sign_of(found.metric) == -1
    folders = [write_scores(tmp_path / f"u{n}", [score], mpp=None) for n, score in enumerate(scores)]
    assert "pooled_false_per_mm2" not in {found.metric for found in compare_runs(folders).differences}


def test_empty_slides_are_compared(tmp_path):
    nothing, missed = NOTHING, Score(*[PixelCounts(fn=9)] * 3, InstanceCounts(n_true=3))
    folders = [
        write_scores(tmp_path / str(n), scores) for n, scores in enumerate([[nothing] * 3, [missed] * 3])
    ]
    comparison = compare_runs(folders)
    assert (of(comparison, "ap50").first, of(comparison, "ap50").other) == (1.0, 0.0)
    assert of(comparison, "pooled_ap50").interval == (-1.0, -1.0)


def test_predictions_by_other_arithmetic_are_noted(tmp_path):
    folders = [write_scores(tmp_path / how, [NOTHING], precision=how) for how in ("bf16", "int8")]
    notes = compare_runs(folders).notes
    assert [note for note in notes if "(A by openvino bf16, B by openvino int8)" in note]


def test_slides_in_quarantine_in_all_runs_are_noted(tmp_path):
    one = [{"slide": "S1", "score": NOTHING}]
    folders = [
        write_run(tmp_path / name, one, quarantined=["bad", *own]) for name, own in (("a", ["x"]), ("b", []))
    ]
    assert "In quarantine in all runs, so not compared: bad." in compare_runs(folders).notes


def test_equal_models_are_noted(tmp_path):
    slides = [{"slide": "S1", "values": {"ap50": 0.5}, "model": "m"}]
    folders = [write_run(tmp_path / name, slides) for name in "ab"]
    assert "B has the same model as A." in compare_runs(folders).notes


def spread(values, split="test", measure="ap50"):
    seeds = {str(number): value for number, value in enumerate(values)}
    row = {"mean": float(np.mean(values)), "deviation": float(np.std(values, ddof=1)), "joined": max(values)}
    return {"seeds": [{"split": split, "measure": measure, "seeds": seeds} | row]}


def test_models_of_several_seeds_are_compared_with_their_spread(compare):
    a, b = [0.80, 0.82, 0.81], [0.84, 0.83]
    one = {"ap50": [0.5] * 3}
    comparison = compare(one, one, one, summaries=[spread(a), spread(b), {"seeds": []}])
    (row,) = comparison.seeds
    assert row["runs"]["A"]["mean"] == pytest.approx(0.81)
    assert row["runs"]["B"]["deviation"] == pytest.approx(np.std(b, ddof=1))
    assert set(row["differences"]) == {"B"}
    difference = row["differences"]["B"]
    assert difference["difference"] == pytest.approx(np.mean(b) - np.mean(a))
    low, high = difference["interval"]
    # The ends of the interval are where the test's p is 5 %.
    for end in (low, high):
        assert ttest_ind(np.array(b) - end, a, equal_var=False).pvalue == pytest.approx(0.05)


def test_equal_seeds_and_other_splits_have_no_interval(compare):
    one = {"ap50": [0.5] * 3}
    comparison = compare(one, one, summaries=[spread([0.8, 0.8]), spread([0.7, 0.7])])
    assert comparison.seeds[0]["differences"]["B"]["interval"] is None
    assert math.isclose(comparison.seeds[0]["differences"]["B"]["difference"], -0.1)
    assert comparison_json(comparison)["seeds"]


def test_seeds_of_another_split_are_not_shown(compare):
    one = {"ap50": [0.5] * 3}
    assert compare(one, one, summaries=[spread([0.8, 0.9], "val")] * 2).seeds == []
