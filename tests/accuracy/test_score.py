"""`engine score`: the guide's JSON, byte for byte, or an error; never a better accuracy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.accuracy.dumps import read_dump
from engine.accuracy.guide import guide_document
from engine.accuracy.score import Score, ScoreOptions, score_dumps
from engine.errors import DataError, DumpError, EngineError, ModelError
from tests.conftest import run_engine

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dumps:
    folder: Path
    labels: Path
    scores: F32


def guide_json(folder: Path, labels: Path) -> str:
    """What the guide's script does, statement by statement; .bin and .npy beside the script's own .txt."""
    truth = {}
    for line in labels.read_text().splitlines():
        fields = line.strip().split(" ")
        truth[fields[0].split(".")[0]] = fields[1]
    count, hits, n_labels, n_shown = 0, np.zeros(5), 0, 0
    for path in folder.iterdir():
        count += 1
        stem = path.name.split(".")[0]
        if path.suffix == ".txt":
            words = path.read_text().splitlines()[0].strip().split(" ")
            prediction = np.zeros(len(words), np.float32)
            for i, word in enumerate(words):
                prediction[i] = np.float32(word)
        else:
            prediction = np.load(path) if path.suffix == ".npy" else np.fromfile(path, np.float32)
        n_labels = len(prediction)
        order = np.argsort(-prediction)
        label = int(truth[stem[: stem.rfind("_")]]) + (n_labels == 1001)
        n_shown = min(len(order), 5)
        for i in range(n_shown):
            if str(label) == str(order[i]):
                hits[i] += 1
                break
    rows = [{"key": "Number of images", "value": str(count)}, {"key": "Number of classes", "value": str(n_labels)}]
    accuracy = np.cumsum(hits) / count
    rows += [{"key": f"Top{i + 1} accuracy", "value": str(round(accuracy[i] * 100, 2)) + "%"} for i in range(n_shown)]
    return json.dumps({"title": "Overall statistical evaluation", "value": rows})


def make(root: Path, n: int = 300, n_classes: int = 1000, decimals: int | None = None) -> Dumps:
    """Seeded scores; about half of the labels are among the first five. Dumps are not written yet."""
    rng = np.random.default_rng(n + n_classes)
    scores = rng.normal(size=(n, n_classes)).astype(np.float32)
    if decimals is not None:
        scores = np.round(scores, decimals)
    order = np.argsort(-scores, axis=1)
    columns = order[np.arange(n), rng.integers(0, min(9, n_classes), n)]
    labels = root / "val_label.txt"
    offset = n_classes - 1000 if n_classes in (1000, 1001) else 0
    columns = np.maximum(columns, offset)
    labels.write_text("".join(f"img_{i + 1:05d}.JPEG {column - offset}\n" for i, column in enumerate(columns)))
    folder = root / "dumpOutput_device0"
    folder.mkdir()
    return Dumps(folder, labels, scores)


def write(dumps: Dumps, kind: str, number: int = 1) -> None:
    for i, row in enumerate(dumps.scores):
        path = dumps.folder / f"img_{i + 1:05d}_{number}.{kind}"
        if kind == "txt":  # blank behind the last number, as the old tool has it
            path.write_text(" ".join(f"{value:.6g}" for value in row.tolist()) + " \n")
        elif kind == "bin":
            row.tofile(path)
        else:
            np.save(path, row)


def scored(dumps: Dumps, **options: object) -> Score:
    return score_dumps(dumps.folder, dumps.labels, ScoreOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "number"), [("txt", 1), ("bin", 1), ("txt", 0), ("bin", 0), ("npy", 0)])
@pytest.mark.parametrize("n_classes", [1000, 1001])
def test_the_json_is_that_of_the_guides_script(tmp_path: Path, kind: str, number: int, n_classes: int) -> None:
    dumps = make(tmp_path, 137, n_classes)
    write(dumps, kind, number)
    score = scored(dumps)
    assert json.dumps(score.document) == guide_json(dumps.folder, dumps.labels)
    assert len(set(score.in_top)) == 5  # each of Top-1..Top-5 is told from the next
    assert score.label_offset == n_classes - 1000


def test_equal_scores_are_in_the_guides_order_and_the_other_one_is_said(tmp_path: Path) -> None:
    """Scores of one decimal: most labels share theirs with other classes, so the two orders differ."""
    dumps = make(tmp_path, 200, decimals=1)
    write(dumps, "bin")
    score = scored(dumps)
    assert json.dumps(score.document) == guide_json(dumps.folder, dumps.labels)
    assert score.n_tied > 100
    order = np.lexsort((np.broadcast_to(np.arange(1000), dumps.scores.shape), -dumps.scores), axis=1)
    labels = [int(line.split()[1]) for line in dumps.labels.read_text().splitlines()]
    places = [int(np.flatnonzero(row == label)[0]) for row, label in zip(order, labels, strict=True)]
    assert score.in_top_lower == tuple(sum(place < k for place in places) for k in range(1, 6))
    lower = scored(dumps, ties="lower")
    assert lower.in_top == lower.in_top_lower == score.in_top_lower
    assert score.in_top != score.in_top_lower


@given(n_in_top=st.lists(st.integers(0, 50_000), min_size=5, max_size=5), n=st.just(50_000) | st.integers(1, 50_000))
def test_percentages_are_printed_as_the_guides_script_prints_them(n_in_top: list[int], n: int) -> None:
    hits = np.diff([0, *sorted(min(count, n) for count in n_in_top)]).astype(float)
    accuracy = np.cumsum(hits) / n
    expected = [str(round(accuracy[i] * 100, 2)) + "%" for i in range(5)]
    document = guide_document(n, 1000, [int(count) for count in np.cumsum(hits)])
    assert [row["value"] for row in document["value"][2:]] == expected


def test_few_classes_give_as_many_lines(tmp_path: Path) -> None:
    dumps = make(tmp_path, 20, 3)
    dumps.labels.write_text("".join(f"img_{i + 1:05d}.JPEG {i % 3}\n" for i in range(20)))
    write(dumps, "txt")
    assert json.dumps(scored(dumps, n_classes=3).document) == guide_json(dumps.folder, dumps.labels)


def test_the_folder_above_the_chips_is_scored_as_one(tmp_path: Path) -> None:
    dumps = make(tmp_path, 50)
    write(dumps, "bin")
    whole = scored(dumps)
    second = tmp_path / "dumpOutput_device3"
    second.mkdir()
    for path in sorted(dumps.folder.iterdir())[::2]:
        path.rename(second / path.name)
    (tmp_path / "perf_vision_batchsize_16_device_0.txt").write_text("no dump\n")
    assert score_dumps(tmp_path, dumps.labels).document == whole.document


def test_missing_extra_and_double_outputs_are_an_error(tmp_path: Path) -> None:
    dumps = make(tmp_path, 12)
    write(dumps, "txt")
    (dumps.folder / "img_00003_1.txt").unlink()
    (dumps.folder / "img_00007_1.txt").rename(dumps.folder / "other_1.txt")
    np.zeros(1000, np.float32).tofile(dumps.folder / "img_00001_1.bin")
    with pytest.raises(DumpError) as caught:
        scored(dumps)
    text = str(caught.value)
    assert f"2 of 12 images of {dumps.labels} have no output, first img_00003" in text
    assert f"1 outputs belong to no image of {dumps.labels}, first other" in text
    assert "1 images have several outputs, first img_00001 in " in text


def test_a_double_output_on_another_chip_is_an_error(tmp_path: Path) -> None:
    dumps = make(tmp_path, 5)
    write(dumps, "npy", 0)
    twin = tmp_path / "dumpOutput_device1"
    twin.mkdir()
    (twin / "img_00002_0.npy").write_bytes((dumps.folder / "img_00002_0.npy").read_bytes())
    with pytest.raises(DumpError, match=r"1 images have several outputs, first img_00002 in .*device0.* and .*device1"):
        score_dumps(tmp_path, dumps.labels)


@pytest.mark.parametrize(
    ("name", "content", "error", "text"),
    [
        ("img_00002_1.txt", b"", DumpError, "img_00002_1.txt is empty: its image was not run"),
        ("img_00002_1.txt", b"1.5 2.5 x 3", DumpError, "img_00002_1.txt holds something that is no number"),
        ("img_00002_1.txt", b"\xff\xfe1", DumpError, "img_00002_1.txt holds something that is no number"),
        ("img_00002_1.txt", b"1 2 3", DumpError, "img_00002_1.txt holds 3 scores, the one of "),
        ("img_00001_1.txt", b"1 2 3", ModelError, "img_00001_1.txt holds 3 scores: needed 1000, or 1001"),
        ("note.md", b"hello", DumpError, "1 files in .* are no dumps, first 'note.md'"),
        ("img_00002_2.txt", b"1 2", DumpError, r"several outputs, _1 \(6 files\), _2 \(1 files\): say which one"),
    ],
)
def test_a_bad_dump_is_named(tmp_path: Path, name: str, content: bytes, error: type[EngineError], text: str) -> None:
    dumps = make(tmp_path, 6)
    write(dumps, "txt")
    (dumps.folder / name).write_bytes(content)
    with pytest.raises(error, match=text):
        scored(dumps)


def test_bytes_that_are_no_scores_are_named(tmp_path: Path) -> None:
    dumps = make(tmp_path, 3)
    write(dumps, "bin")
    bad = dumps.folder / "img_00002_1.bin"
    bad.write_bytes(b"\0" * 4001)
    with pytest.raises(DumpError, match=r"img_00002_1.bin has 4001 bytes, which are no whole number of float32 scores"):
        scored(dumps)
    bad.unlink()
    bad.with_suffix(".npy").write_bytes(b"\x93NUMPY nothing")
    with pytest.raises(DumpError, match=r"img_00002_1\.npy is no \.npy array"):
        scored(dumps)


def test_float16_is_suggested_and_read(tmp_path: Path) -> None:
    dumps = make(tmp_path, 40)
    half = Dumps(dumps.folder, dumps.labels, dumps.scores.astype(np.float16))  # type: ignore[arg-type]
    write(half, "bin")
    with pytest.raises(ModelError, match=r"holds 500 scores.*are they float16\? then say --dtype float16"):
        scored(dumps)
    found = scored(dumps, dtype="float16")
    assert found.predictions.top_ids[:, 0].tolist() == np.argmax(half.scores, axis=1).tolist()


def test_scores_with_a_nan_count_as_wrong(tmp_path: Path) -> None:
    dumps = make(tmp_path, 8)
    dumps.scores[3, 17] = np.nan
    write(dumps, "txt")
    score = scored(dumps)
    assert score.n_nan == 1
    assert score.predictions.ranks[3] == 0
    assert score.n_images == 8


def test_labels_that_are_no_column_are_named(tmp_path: Path) -> None:
    dumps = make(tmp_path, 4)
    write(dumps, "bin")
    dumps.labels.write_text("".join(f"img_{i + 1:05d}.JPEG {997 + i}\n" for i in range(4)))
    with pytest.raises(DataError, match=r"1 labels are no class of the model's 1000, first img_00004 with class 1000"):
        scored(dumps)


def test_text_is_read_as_float32_in_the_guides_way(tmp_path: Path) -> None:
    path = tmp_path / "a_1.txt"
    words = ["0.1", "1e-46", "-3.4028234e38", "16777217", "1.00000005960464478", "inf", "-0", "7e-3"]
    path.write_text(" ".join(words) + " \n")
    expected = np.array([np.float32(word) for word in words])
    assert read_dump(str(path)).tobytes() == expected.tobytes()


def test_the_command_writes_the_json_and_the_predictions(tmp_path: Path) -> None:
    dumps = make(tmp_path, 30)
    write(dumps, "txt")
    out, csv = tmp_path / "result.json", tmp_path / "p.csv"
    finished = run_engine("score", dumps.folder, dumps.labels, "-o", out, "--predictions", csv)
    assert finished.returncode == 0, finished.stderr
    assert out.read_text() == guide_json(dumps.folder, dumps.labels)
    assert finished.stdout.splitlines()[0].startswith("Top-1..Top-5 ")
    assert finished.stdout.splitlines()[0].endswith(" of 30 images, 1000 classes, label offset 0")
    assert len(csv.read_text().splitlines()) == 31
    next(dumps.folder.iterdir()).unlink()
    out.unlink()
    finished = run_engine("score", dumps.folder, dumps.labels, "-o", out)
    assert (finished.returncode, finished.stderr.count("\n"), out.exists()) == (10, 1, False)


def test_a_wrong_folder_is_one_line(tmp_path: Path) -> None:
    finished = run_engine("score", tmp_path / "none", tmp_path / "labels.txt")
    assert (finished.returncode, finished.stderr.count("\n")) == (3, 1)
    (tmp_path / "labels.txt").write_text("a.JPEG 3\n")
    (tmp_path / "empty").mkdir()
    finished = run_engine("score", tmp_path / "empty", tmp_path / "labels.txt")
    assert finished.returncode == 10
    assert "no dumps in" in finished.stderr
