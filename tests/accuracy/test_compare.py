"""`engine compare`: both gates, the stricter decides, and no verdict that the images cannot carry."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from engine.accuracy.compare import MET, NOT_MET, UNDECIDED, Gate, compare, compare_runs
from engine.accuracy.guide import guide_document
from engine.accuracy.measured import Measured, read_measured
from engine.accuracy.references import Reference, custom_reference, find_reference, numbers_reference, references
from engine.errors import ConfigError, DataError, EngineError
from tests.conftest import run_engine

GUIDE = Reference("guide", 79.312, 94.526, "the guide")
HEADER = "sample,label,rank,top5_ids,top5_logits,status\n"


def exactly(top1: int, top5: int, n: int) -> Measured:
    return Measured("run", n, {1: (top1, top1), 5: (top5, top5)})


def write_predictions(path: Path, ranks: list[int], label: int = 7, suffix: str = "JPEG") -> Path:
    """Rank 1 predicts the label, rank r puts it at place r; 0 failed."""
    lines = []
    for i, rank in enumerate(ranks):
        others = [100 + j for j in range(5)]
        if 1 <= rank <= 5:
            others[rank - 1] = label
        ids = " ".join(map(str, others)) if rank else ""
        status = "SCORED" if rank else "FAILED: the file is empty"
        lines.append(f"img_{i}.{suffix},{label},{rank or ''},{ids},{'1 1 1 1 1' if rank else ''},{status}\n")
    path.write_text(HEADER + "".join(lines))
    return path


def test_the_table_holds_the_guides_own_reference() -> None:
    reference = find_reference("resnext101_32x8d")
    assert (reference.top1, reference.top5) == (79.312, 94.526)
    assert reference.name == "resnext101_32x8d IMAGENET1K_V1"
    assert reference.source.startswith("https://docs.pytorch.org/vision/")
    assert find_reference("resnext101_32x8d", "IMAGENET1K_V2").top1 == 82.834
    assert find_reference("lite0").top1 == 75.1


def test_the_table_holds_accuracies_only() -> None:
    table = references()
    assert len(table) > 100
    for reference in table.values():
        assert reference.top1 is not None
        assert 50 < reference.top1 < 90
        assert reference.top5 is None or reference.top1 < reference.top5 < 100
        assert reference.source.startswith("https://")


def test_names_that_are_not_in_the_table_are_answered_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown reference 'resnext101', did you mean resnext101_32x8d or resnext101_64x4d\?"
    ):
        find_reference("resnext101")
    with pytest.raises(ConfigError, match=r"unknown weights of resnet50 'V3'"):
        find_reference("resnet50", "V3")


def test_the_gates_of_the_guides_model_are_those_of_its_two_readings() -> None:
    absolute, relative = Gate().thresholds(79.312)
    assert (round(absolute, 3), round(relative, 3)) == (78.312, 78.519)


@pytest.mark.parametrize(
    ("top1", "verdict", "stricter"),
    [
        (39_656, MET, "relative"),
        (39_260, MET, "relative"),
        (39_259, NOT_MET, "relative"),
        (39_157, NOT_MET, "relative"),
    ],
)
def test_on_the_whole_validation_set_the_stricter_gate_decides(top1: int, verdict: str, stricter: str) -> None:
    """78.519 % is 39,259.4 of 50,000; the absolute gate alone would let 39,156 pass."""
    top = compare(exactly(top1, 47_263, 50_000), GUIDE).tops[0]
    assert (top.verdict, top.stricter) == (verdict, stricter)


def test_below_fifty_percent_the_relative_gate_is_the_stricter_and_above_a_hundred_points_none() -> None:
    low = compare(exactly(20_000, 30_000, 50_000), Reference("low", 40.0, None, "x")).tops[0]
    assert low.stricter == "relative"
    wide = compare(exactly(20_000, 30_000, 50_000), Reference("low", 40.0, None, "x"), Gate(0.1)).tops[0]
    assert wide.stricter == "absolute"
    assert wide.absolute_gate == pytest.approx(39.9)


@pytest.mark.parametrize(
    ("n", "right", "verdict"),
    [
        (160, 160, UNDECIDED),  # perfect, and still no proof
        (1_000, 793, UNDECIDED),
        (1_000, 700, NOT_MET),  # so bad that even 1,000 images tell
        (12_000, 9_480, UNDECIDED),  # above the gate, but 78.519 is inside the interval
        (12_000, 9_700, MET),
    ],
)
def test_a_sample_is_decided_only_where_it_is_large_enough(n: int, right: int, verdict: str) -> None:
    reference = Reference("guide", 79.312, None, "the guide")
    assert compare(exactly(right, right, n), reference).tops[0].verdict == verdict


def test_the_reason_of_a_refusal_says_how_many_images_are_needed() -> None:
    reason = compare(exactly(793, 940, 1_000), GUIDE).tops[0].reason
    assert reason.startswith("1000 images give +-2.51 points, the gate is 0.79 below the reference: at least 10")
    assert reason.endswith("images are needed, or a run of the reference on the same images")


def test_rounded_percentages_are_taken_for_what_they_say(tmp_path: Path) -> None:
    """79.31 % of 50,000 images are 39,653 to 39,657 of them."""
    path = tmp_path / "result.json"
    path.write_text(json.dumps(guide_document(50_000, 1000, [39_656, 44_340, 45_915, 46_735, 47_260])))
    measured = read_measured(path)
    fewest, most = measured.in_top[1]
    assert (fewest, most) == (39_653, 39_657)
    for count in (fewest, most):
        assert guide_document(50_000, 1000, [count])["value"][2]["value"] == "79.31%"
    assert compare(measured, GUIDE).verdict == MET


def test_failed_images_count_as_wrong(tmp_path: Path) -> None:
    measured = read_measured(write_predictions(tmp_path / "predictions.csv", [1, 1, 0, 6, 3]))
    assert (measured.n_images, measured.in_top) == (5, {1: (2, 2), 5: (3, 3)})


def test_a_paired_comparison_counts_flips_and_decides_with_few_images(tmp_path: Path) -> None:
    rng = random.Random(1)
    old = [1 if rng.random() < 0.8 else rng.choice([2, 3, 9]) for _ in range(2_000)]
    new = list(old)
    old[:3], new[:3] = [1, 1, 2], [2, 9, 1]
    a = read_measured(write_predictions(tmp_path / "new.csv", new, suffix="bin"))
    b = read_measured(write_predictions(tmp_path / "old.csv", old))
    comparison = compare_runs(a, b)
    top1, top5 = comparison.tops
    assert (top1.n_gained, top1.n_lost, top5.n_gained, top5.n_lost) == (1, 2, 0, 1)
    assert comparison.verdict == MET
    assert [(flip.sample, flip.change) for flip in comparison.flips] == [
        ("img_0.bin", "lost"),
        ("img_1.bin", "lost"),
        ("img_2.bin", "gained"),
    ]
    assert top1.p_exact == 1.0


def test_a_paired_loss_is_found_and_too_few_pairs_are_said(tmp_path: Path) -> None:
    old = read_measured(write_predictions(tmp_path / "old.csv", [1] * 800 + [2] * 200))
    bad = read_measured(write_predictions(tmp_path / "bad.csv", [1] * 750 + [2] * 250))
    top1 = compare_runs(bad, old).tops[0]
    assert (top1.verdict, top1.n_lost, top1.measured - top1.reference) == (NOT_MET, 50, pytest.approx(-5.0))
    assert top1.p_mid is not None
    assert top1.p_mid < 1e-10
    few_old = read_measured(write_predictions(tmp_path / "few_old.csv", [1] * 30 + [2] * 10))
    few = read_measured(write_predictions(tmp_path / "few.csv", [1] * 30 + [2] * 10))
    assert compare_runs(few, few_old).tops[0].verdict == UNDECIDED


def test_runs_on_other_images_or_labels_are_refused(tmp_path: Path) -> None:
    a = read_measured(write_predictions(tmp_path / "a.csv", [1] * 5))
    with pytest.raises(DataError, match=r"2 images of .*a\.csv are not in .*b\.csv, first img_3"):
        compare_runs(a, read_measured(write_predictions(tmp_path / "b.csv", [1] * 3)))
    with pytest.raises(DataError, match=r"5 images have other labels in .*c\.csv than in .*a\.csv, first img_0"):
        compare_runs(a, read_measured(write_predictions(tmp_path / "c.csv", [1] * 5, label=8)))
    json_only = tmp_path / "r.json"
    json_only.write_text(json.dumps(guide_document(5, 1000, [5] * 5)))
    with pytest.raises(DataError, match=r"r\.json has no predictions per image"):
        compare_runs(a, read_measured(json_only))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("x.json", "{}", r"x\.json is no result\.json of the guide: KeyError"),
        ("x.json", '{"title": "other", "value": []}', r"x\.json is no result\.json"),
        ("x.json", "no json", r"x\.json is no result\.json"),
        ("x.csv", HEADER, r"no predictions in .*x\.csv"),
        ("x.csv", HEADER + "a,b,1,1,1,SCORED\n", r"x\.csv:2 is no whole line of a predictions\.csv"),
        ("x.csv", "one,two\n1,2\n", r"x\.csv:2 is no whole line of a predictions\.csv"),
        ("x.csv", HEADER + "a,1,,,,PENDING\n", r"1 of 1 images of .*x\.csv are PENDING"),
        ("x.csv", HEADER + "a.png,1,1,1,1,SCORED\na.jpg,1,1,1,1,SCORED\n", r"x\.csv holds 1 images twice"),
    ],
)
def test_what_is_no_result_is_named(tmp_path: Path, name: str, content: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=text):
        read_measured(path)


def test_a_file_that_was_cut_is_told_by_its_run(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "predictions.csv", [1, 2, 3])
    (tmp_path / "run.json").write_text('{"dataset": {"n_images": 3}}')
    assert read_measured(tmp_path).n_images == 3
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=r"predictions\.csv holds 2 images but its run\.json says 3"):
        read_measured(tmp_path)


def test_numbers_are_a_reference_too() -> None:
    both, one = numbers_reference("79.312,94.526"), numbers_reference("79.312")
    assert both is not None
    assert one is not None
    assert (both.top1, both.top5, one.top1, one.top5) == (79.312, 94.526, 79.312, None)
    assert numbers_reference("resnet50") is None
    assert numbers_reference("1,2,3") is None


@pytest.mark.parametrize("value", [-1.0, 0.79312, 101.0, float("nan")])
def test_a_reference_that_is_no_percentage_is_refused(value: float) -> None:
    with pytest.raises(EngineError, match=r"--top1 .* is no percentage"):
        custom_reference(value, None)


def test_the_exit_code_is_the_verdict(tmp_path: Path) -> None:
    good = tmp_path / "result.json"
    good.write_text(json.dumps(guide_document(50_000, 1000, [39_656, 44_340, 45_915, 46_735, 47_260])))
    out = tmp_path / "compare.json"
    met = run_engine("compare", good, "--reference", "resnext101_32x8d", "-o", out)
    assert met.returncode == 0, met.stderr
    for text in ("79.310 %  reference 79.312 %", "absolute gate  >= 78.312 %", "relative gate  >= 78.519 %  (stricter"):
        assert text in met.stdout
    assert json.loads(out.read_text())["verdict"] == "met"
    assert max(map(len, met.stdout.splitlines()[1:])) <= 100
    bad = run_engine("compare", good, "--top1", "81", "--top5", "94.526")
    assert bad.returncode == 11
    assert bad.stderr == "engine: Top-1 gate not met: 79.310 % is below 80.190 %\n"
    write_predictions(tmp_path / "predictions.csv", [1] * 30 + [2] * 10)
    few = run_engine("compare", tmp_path, "--reference", "resnext101_32x8d")
    assert few.returncode == 12
    assert "40 images give" in few.stderr
    nowhere = run_engine("compare", good, "--top1", "79", "-o", tmp_path / "no" / "x.json")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (6, 1)
    assert "x.json cannot be written: No such file or directory" in nowhere.stderr
    unknown = run_engine("compare", tmp_path)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
