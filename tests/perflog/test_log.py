"""The perf log: what a run leaves in it, its commands, and that it never fails a run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from engine.perflog.fingerprint import COMPARED, differences, lookup
from engine.perflog.log import default_log, read_log
from engine.perflog.table import plain
from engine.records import RecordWriter
from tests.conftest import DataSet, run_engine
from tests.perflog.entries import call_engine, entry, write_log

COLUMNS = 80


def run_once(data: DataSet, out: Path, *more: object) -> None:
    done = run_engine(
        "run", "--data", data.folder, "--labels", data.labels, "--model", "fingerprint", "--backend", "sim",
        "--devices", "0", "--batch", 8, "--workers", 1, "--out", out, *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_run_appends_its_result_configuration_and_fingerprint(small_data: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "perf.log"
    run_once(small_data, tmp_path / "out", "--log", path, "--label", "first")
    run_once(small_data, tmp_path / "out", "--log", path)
    document = json.loads((tmp_path / "out" / "run.json").read_text())
    first, second = read_log(path).entries
    assert (first["label"], second["label"]) == ("first", "")
    assert second["throughput"] == document["throughput"]
    assert second["config"] == document["config"]
    assert second["environment"] == document["environment"]
    for name in COMPARED:
        if name not in ("environment.cpu_quota", "environment.cann", "environment.driver"):
            assert lookup(second, name) not in (None, ""), name
    assert {"revision", "is_dirty"} == set(second["environment"]["engine_git"]) == set(second["environment"]["cwd_git"])
    assert differences(first, second) == {}


def test_a_run_keeps_its_throughput_per_interval(small_data: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "perf.log"
    run_once(small_data, tmp_path / "out", "--log", path, "--repeat", 20)
    (logged,) = read_log(path).entries
    assert sum(logged["timeline"]["images"]) <= 20 * small_data.n_images
    assert logged["timeline"]["interval_ms"] > 0


def test_a_bench_appends_an_entry_per_batch_size_that_compare_takes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for _ in range(2):
        done = run_engine(
            "bench", "--model", "fingerprint", "--backend", "sim", "--devices", "0", "--batch", "1,4", "--rounds", 8,
            "--input", "zeros", "--out", tmp_path / "out", "--log", path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    entries = read_log(path).entries
    assert [(e["command"], e["config"]["batch"], len(e["interface_samples_per_s"])) for e in entries] == [
        ("bench", 1, 8), ("bench", 4, 8), ("bench", 1, 8), ("bench", 4, 8),
    ]  # fmt: skip
    done = call_engine("perf", "compare", entries[0]["id"], entries[2]["id"], "--log", path)
    assert done.stdout.startswith("interface ")
    assert "one run a side and no noise floor" in done.stdout


def test_the_default_log_is_in_the_data_folder_and_no_log_leaves_it_alone(
    small_data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    run_once(small_data, tmp_path / "out", "--no-log")
    assert not default_log().exists()
    run_once(small_data, tmp_path / "out")
    assert default_log() == tmp_path / "data" / "engine" / "perf.log"
    assert len(read_log(None).entries) == 1


@pytest.mark.parametrize("kind", ["another file", "a folder"])
def test_a_log_that_cannot_be_written_costs_a_warning_and_not_the_run(
    small_data: DataSet, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "log"
    if kind == "a folder":
        path.mkdir()
    else:
        path.write_text("my notes")
    done = run_engine(
        "run", "--data", small_data.folder, "--labels", small_data.labels, "--backend", "null", "--workers", 1,
        "--out", tmp_path / "out", "--log", path,
    )  # fmt: skip
    assert done.returncode == 0
    assert "not logged: " in done.stderr
    if kind == "another file":
        assert path.read_text() == "my notes"


def test_the_table_fits_80_columns_and_says_what_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write_log(path, [entry(600, label="a very long label for a run\x1b[31m"), entry(1, interrupted=True)])
    with path.open("ab") as file:
        file.write(b"\xe5REC torn")
    done = call_engine("perf", "log", "--log", path)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= COLUMNS
    assert "\x1b" not in done.stdout
    assert lines[2].endswith(" INVALID")
    assert done.stderr.splitlines() == [
        f"perf log {path}: 9 bytes belong to no whole record (torn or damaged) and were skipped"
    ]
    assert done.returncode == 0


def test_json_and_csv_hold_every_run(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ids = write_log(path, [entry(600.25), entry(601, label="=cmd()")])
    assert [e["id"] for e in json.loads(call_engine("perf", "log", "--json", "--log", path).stdout)] == ids
    rows = list(csv.DictReader(io.StringIO(call_engine("perf", "log", "--csv", "--log", path).stdout)))
    assert [(row["id"], row["end_to_end"], row["label"]) for row in rows] == [
        (ids[0], "600.25", ""),
        (ids[1], "601.0", "'=cmd()"),
    ]
    assert "end-to-end            601 images/s" in call_engine("perf", "show", "last", "--log", path).stdout


def test_github_benchmark_gets_the_newest_valid_run_of_each_configuration(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write_log(path, [entry(600), entry(610), entry(1, error="chip lost"), entry(99, config__batch=1)])
    rows = json.loads(call_engine("perf", "export", "--format", "github-benchmark", "--log", path).stdout)
    assert [(row["name"], row["unit"], row["value"]) for row in rows] == [
        ("fingerprint sim batch 8 2 chips end-to-end", "images/s", 610),
        ("fingerprint sim batch 1 2 chips end-to-end", "images/s", 99),
    ]
    assert all(row["range"].startswith("± ") for row in rows)


def test_asv_gets_a_folder_of_results_per_revision(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write_log(path, [entry(600), entry(610, environment__engine_git={"revision": "b" * 40, "is_dirty": False})])
    done = call_engine("perf", "export", "--format", "asv", "-o", tmp_path / "asv", "--log", path)
    assert done.stdout == f"2 runs in {tmp_path / 'asv'}\n"
    name = "engine.track_fingerprint_sim_batch_8_2_chips_end_to_end"
    assert json.loads((tmp_path / "asv" / "benchmarks.json").read_text())[name]["unit"] == "images/s"
    for letter, rate in (("a", 600), ("b", 610)):
        results = json.loads((tmp_path / "asv" / "engine" / f"{letter * 8}-engine.json").read_text())
        assert (results["commit_hash"], results["results"][name][0]) == (letter * 40, [rate])


def test_import_adds_each_run_once(small_data: DataSet, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    write_log(theirs, [entry(600), entry(601)])
    assert call_engine("perf", "import", theirs, "--log", ours).stdout == "2 runs imported, 0 were known\n"
    assert call_engine("perf", "import", theirs, "--log", ours).stdout == "0 runs imported, 2 were known\n"
    run_once(small_data, tmp_path / "out", "--log", ours)
    assert call_engine("perf", "import", tmp_path / "out", "--log", ours).stdout == "0 runs imported, 1 were known\n"


def test_prune_keeps_the_newest_and_what_baselines_name(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ids = write_log(path, [entry(600 + i) for i in range(5)] + [entry(9, config__batch=1), entry(8, interrupted=True)])
    assert call_engine("perf", "baseline", "set", "main", ids[0], "--log", path).returncode == 0
    assert call_engine("perf", "prune", "--keep", 2, "--dry-run", "--log", path).stdout == "3 runs would be removed\n"
    assert call_engine("perf", "prune", "--keep", 2, "--invalid", "--log", path).stdout == "4 runs removed\n"
    kept = read_log(path)
    assert [e["id"] for e in kept.entries] == [ids[0], ids[4], ids[5]]
    assert kept.baselines == {"main": [ids[0]]}
    assert "what should go?" in call_engine("perf", "prune", "--log", path).stderr


def test_history_names_the_run_at_which_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ids = write_log(path, [entry(600 + i % 3) for i in range(12)] + [entry(560 + i % 3) for i in range(12)])
    done = call_engine("perf", "history", "--log", path, "--fail-on-slowdown")
    assert f"at {ids[12]} (aaaaaaaaa -> aaaaaaaaa)" in done.stdout
    assert "slower -6.7 %" in done.stdout
    assert done.returncode == 2


@pytest.mark.parametrize("record", [1, None, [], {"type": "run"}, {"type": "run", "id": 3}, {"type": "baseline"}])
def test_records_that_are_no_runs_are_passed_over(tmp_path: Path, record: object) -> None:
    path = tmp_path / "log"
    write_log(path, [entry(600)])
    with RecordWriter(path, {"kind": "engine perf log", "version": 1}, is_shared=True) as writer:
        writer.append(record)
    assert len(read_log(path).entries) == 1


@pytest.mark.parametrize("value", ["x", [], {}, float("nan"), -1, None, True, {"end_to_end_per_s": "fast"}])
def test_hostile_values_make_no_command_fail(tmp_path: Path, value: object) -> None:
    path = tmp_path / "log"
    write_log(path, [entry(600, throughput=value, timeline=value, environment=value, pair=value, accuracy=value)] * 2)
    for command in (["log"], ["log", "--csv"], ["show", "last"], ["history"], ["export", "--format", "csv"]):
        done = call_engine("perf", *command, "--log", path)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert call_engine("perf", "compare", "last", "last", "--log", path).returncode == 3


def test_a_missing_log_says_where_logs_come_from(tmp_path: Path) -> None:
    done = call_engine("perf", "log", "--log", tmp_path / "none")
    assert done.stderr == f"engine: no record file {tmp_path / 'none'}: every run appends to it; see --log\n"
    assert done.returncode == 16


def test_plain_removes_what_a_terminal_would_obey() -> None:
    assert plain("a\x1b]0;b\x07\n") == "a?]0;b??"
