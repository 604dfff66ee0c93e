"""What a run leaves in --out, read by readers that exist outside: the guide's scorer and the published one-liner."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
import pytest

import engine
from engine.accuracy.measured import read_measured
from engine.errors import DataError
from engine.verify import verify_result
from tests.conftest import DataSet, run_engine

BATCH = 4
N_CLASSES = 1000
NUMBER = r"(?:\d+(?:\.\d+)?(?:e[+-]\d+)?)"
PERF_FILE = re.compile(
    rf"""\[e2e\] throughputRate: {NUMBER}, latency: {NUMBER}
\[data read\] throughputRate: {NUMBER}, moduleLatency: {NUMBER}
\[preprocess\] throughputRate: {NUMBER}, moduleLatency: {NUMBER}
\[infer\] throughputRate: {NUMBER}, Interface throughputRate: {NUMBER}, moduleLatency: {NUMBER}
\[post\] throughputRate: {NUMBER}, moduleLatency: {NUMBER}
"""
)


@dataclass(frozen=True)
class FinishedRun:
    data: DataSet
    out: Path
    stdout: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.out / "run.json").read_text())
        return document

    def rows(self) -> list[dict[str, str]]:
        with (self.out / "predictions.csv").open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(small_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Two passes of the proof model over 37 images on two simulated chips; half of the labels made right."""
    root = tmp_path_factory.mktemp("outputs")
    first = execute(small_data, root / "first")
    labels = root / "labels.txt"
    rows = FinishedRun(small_data, root / "first", first).rows()
    # Every image but each fourth gets the class that the model puts first, second ... fifth in turn.
    classes = [row["top5_ids"].split()[i % 5] if i % 4 else row["label"] for i, row in enumerate(rows)]
    labels.write_text("".join(f"{row['sample']} {label}\n" for row, label in zip(rows, classes, strict=True)))
    data = DataSet(small_data.folder, labels, small_data.n_images)
    return FinishedRun(data, root / "out", execute(data, root / "out", "--dump", "txt", "--repeat", 2))


def execute(data: DataSet, out: Path, *more: object) -> str:
    words = ["--backend", "sim", "--model", "fingerprint", "--devices", "0,2", "--batch", BATCH, "--out", out]
    finished = run_engine("run", "--data", data.folder, "--labels", data.labels, *words, *more)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def guide_scores(run: FinishedRun) -> list[str]:
    """The arithmetic of the guide's imagenet_acc_eval.py: sort each dump, count where the label is."""
    labels = dict(line.rsplit(maxsplit=1) for line in run.data.labels.read_text().splitlines())
    truth = {Path(name).stem: int(label) for name, label in labels.items()}
    counts: npt.NDArray[np.float64] = np.zeros(5)
    dumps = sorted(run.out.glob("dumpOutput_device*/*.txt"))
    assert len(dumps) == run.data.n_images
    for path in dumps:
        text = path.read_text()
        assert text.count("\n") <= 1
        scores = np.array([float(word) for word in text.split()])
        assert len(scores) == N_CLASSES
        order = np.argsort(-scores, kind="stable")
        place = int(np.flatnonzero(order == truth[path.stem[: path.stem.rindex("_")]])[0])
        counts[place:] += 1
    return [str(round(count / len(dumps) * 100, 2)) + "%" for count in counts]


def test_result_json_has_the_schema_of_the_guide(run: FinishedRun) -> None:
    result = json.loads((run.out / "result.json").read_text())
    assert list(result) == ["title", "value"]
    assert result["title"] == "Overall statistical evaluation"
    keys = ["Number of images", "Number of classes", *(f"Top{k} accuracy" for k in range(1, 6))]
    assert [entry["key"] for entry in result["value"]] == keys
    values = [entry["value"] for entry in result["value"]]
    assert values[:2] == [str(run.data.n_images), "1000"]
    assert all(re.fullmatch(r"\d{1,3}\.\d\d?%", value) for value in values[2:])
    assert all(list(entry) == ["key", "value"] for entry in result["value"])


def test_the_scorer_of_the_guide_finds_the_same_accuracy_in_the_dumps(run: FinishedRun) -> None:
    result = json.loads((run.out / "result.json").read_text())
    found = [entry["value"] for entry in result["value"][2:]]
    assert found == guide_scores(run)
    assert len(set(found)) == 5  # each of Top-1..Top-5 is told from the next


def test_perf_files_follow_the_grammar_of_the_old_tool(run: FinishedRun) -> None:
    files = sorted(path.name for path in run.out.glob("perf_*"))
    assert files == [f"perf_vision_batchsize_{BATCH}_device_{device}.txt" for device in (0, 2)]
    for name in files:
        text = (run.out / name).read_text()
        assert PERF_FILE.fullmatch(text), text
        for number in re.findall(NUMBER, text.replace("e2e", "")):
            assert len(re.sub(r"e.*|\.", "", number).lstrip("0")) <= 6, number


def test_the_published_reader_finds_the_interface_rate_in_a_perf_file(run: FinishedRun) -> None:
    """``re.findall(':(.*?),', text.replace('\\n', ','))[7]``, as about a hundred published scripts do."""
    for device in run.document["devices"]:
        path = run.out / f"perf_vision_batchsize_{BATCH}_device_{device['device']}.txt"
        item = re.findall(r":(.*?),", path.read_text().replace("\n", ","))[7]
        assert float(item.strip()) == pytest.approx(device["interface_per_s"], rel=1e-5)
        assert path.name.split("_")[3] == str(BATCH)


def test_the_numbers_of_a_perf_file_agree_with_each_other(run: FinishedRun) -> None:
    """The identities of the old tool's own logs: rate x latency = images, post counts batches."""
    for device in run.document["devices"]:
        text = (run.out / f"perf_vision_batchsize_{BATCH}_device_{device['device']}.txt").read_text()
        values = [float(value) for value in re.findall(r": ([0-9.e+-]+)", text)]
        e2e, latency, read, read_ms, pre, pre_ms, infer, _, _, post, post_ms = values
        assert e2e * latency / 1000 == pytest.approx(device["n_images"], rel=1e-4)
        assert read * read_ms == pytest.approx(1000, rel=1e-4)
        assert pre * pre_ms == pytest.approx(1000, rel=1e-4)
        assert post * post_ms == pytest.approx(1000, rel=1e-4)
        assert post / infer == pytest.approx(device["n_batches"] / device["n_images"], rel=1e-4)


def test_predictions_csv_has_one_row_per_image_in_natural_order(run: FinishedRun) -> None:
    header = (run.out / "predictions.csv").read_text().splitlines()[0]
    assert header == "sample,label,rank,top5_ids,top5_logits,status"
    rows = run.rows()
    assert [row["sample"] for row in rows] == [f"img_{i + 1}.JPEG" for i in range(run.data.n_images)]
    labels = [line.split() for line in run.data.labels.read_text().splitlines()]
    assert [[row["sample"], row["label"]] for row in rows] == labels
    for row in rows:
        ids, logits = row["top5_ids"].split(" "), [float(value) for value in row["top5_logits"].split(" ")]
        assert len(set(ids)) == len(logits) == 5
        assert logits == sorted(logits, reverse=True)
        assert row["status"] == "SCORED"
        if row["label"] in ids:
            assert int(row["rank"]) == ids.index(row["label"]) + 1
        else:
            assert int(row["rank"]) > 5


def test_run_json_is_valid_and_agrees_with_the_predictions(run: FinishedRun) -> None:
    document = run.document
    schema = json.loads((Path(engine.__file__).parent / "schemas" / "run.schema.json").read_text())
    jsonschema.validate(document, schema)
    ranks = np.array([int(row["rank"]) for row in run.rows()])
    assert document["accuracy"] == {f"top{k}": pytest.approx(np.mean(ranks <= k)) for k in range(1, 6)}
    assert document["simulated"] is True
    dataset = document["dataset"]
    assert (dataset["n_samples"], dataset["n_scored"], dataset["n_failed"]) == (2 * run.data.n_images,) * 2 + (0,)
    throughput = document["throughput"]
    interface = sum(device["interface_per_s"] for device in document["devices"])
    assert throughput["interface_per_s"] == pytest.approx(interface)
    assert throughput["efficiency"] == pytest.approx(throughput["end_to_end_per_s"] / interface)
    assert throughput["end_to_end_per_s"] * throughput["wall_s"] == pytest.approx(dataset["n_samples"], rel=1e-6)
    assert re.fullmatch(r"[0-9a-f]{64}", document["predictions_sha256"])


def test_the_schema_refuses_a_document_that_lacks_a_part(run: FinishedRun) -> None:
    schema = json.loads((Path(engine.__file__).parent / "schemas" / "run.schema.json").read_text())
    for key in run.document:
        if key in schema["required"]:
            damaged = {name: value for name, value in run.document.items() if name != key}
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(damaged, schema)


def test_the_summary_says_simulated_and_fits_80_columns(run: FinishedRun) -> None:
    lines = run.stdout.splitlines()
    own = [line for line in lines if not line.startswith(("results in", "backend "))]  # those end in paths and names
    assert max(map(len, own)) <= 80, max(own, key=len)
    assert "SIMULATED" in run.stdout
    assert "resnext101_32x8d-310" in run.stdout
    assert "\r" not in run.stdout
    assert "\x1b" not in run.stdout


def test_a_second_run_leaves_nothing_of_the_first(run: FinishedRun, tmp_path: Path) -> None:
    """Fewer chips, another batch, no dump: old perf files would be counted twice, old dumps scored again."""
    out = tmp_path / "out"
    words = [
        "run",
        "--data",
        run.data.folder,
        "--labels",
        run.data.labels,
        "--backend",
        "sim",
        "--model",
        "fingerprint",
    ]
    assert run_engine(*words, "--out", out, "--devices", "0-1", "--batch", 4, "--dump", "bin").returncode == 0
    (out / "dumpOutput_device1" / "mine").write_text("a file of the user")
    assert run_engine(*words, "--out", out, "--devices", "3", "--batch", 8).returncode == 0
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    mine = "dumpOutput_device1/mine"
    perf = "perf_vision_batchsize_8_device_3.txt"
    assert left == [mine, perf, "predictions.csv", "result.json", "run.json"]


def test_a_run_without_labels_has_everything_but_the_accuracy(run: FinishedRun, tmp_path: Path) -> None:
    """--no-labels: scores, dumps, perf files and the same classes as with labels; no result.json, and it is said."""
    out = tmp_path / "out"
    words = ["--backend", "sim", "--model", "fingerprint", "--devices", 0, "--batch", BATCH, "--dump", "txt"]
    finished = run_engine("run", "--data", run.data.folder, "--no-labels", *words, "--out", out)
    assert finished.returncode == 0, finished.stderr
    assert f"\nno labels: no accuracy\n  later             engine score {out} LABELS\n" in finished.stdout
    without = FinishedRun(run.data, out, finished.stdout)
    schema = json.loads((Path(engine.__file__).parent / "schemas" / "run.schema.json").read_text())
    jsonschema.validate(without.document, schema)
    assert without.document["accuracy"] is without.document["accuracy_of_scored"] is None
    assert not (out / "result.json").exists()
    assert (out / f"perf_vision_batchsize_{BATCH}_device_0.txt").exists()
    for mine, theirs in zip(without.rows(), run.rows(), strict=True):
        assert (mine["label"], mine["rank"], mine["status"]) == ("", "", "SCORED")
        assert (mine["sample"], mine["top5_ids"]) == (theirs["sample"], theirs["top5_ids"])
    scored = run_engine("score", out, run.data.labels, "-o", tmp_path / "r.json", "--ties", "lower")
    assert scored.returncode == 0, scored.stderr
    assert (tmp_path / "r.json").read_bytes() == (run.out / "result.json").read_bytes()
    with pytest.raises(DataError, match="is of a run without labels, so nothing in it is right or wrong: engine score"):
        read_measured(out)
    verify_result(out, lambda line: None)
