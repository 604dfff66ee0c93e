"""Pages: opened in a real browser without errors, offline, small enough, and nothing of a file name is markup."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.perflog.log import LogOptions, PerfLog, entry_of
from engine.report.before import before_card
from engine.sweep.driver import SweepPlan
from engine.sweep.job import SweepJob, run_sweep
from engine.sweep.objective import Objective
from tests.conftest import DataSet, run_engine, write_jpeg
from tests.perflog.entries import call_engine, entry, write_log
from tests.sweep.surfaces import SCENARIOS, SPACE, measure_on

MOST_BYTES = 6_000_000
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
HOSTILE = ["<img src=x onerror=alert(1)>.JPEG", "<b>&amp;<script>.JPEG", "a|b*c.JPEG", "\udcff.JPEG"]
KINDS = ["run", "sweep", "log"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run over images with hostile names and wrong labels, a sweep on formulas, and a log with a slowdown."""
    root = tmp_path_factory.mktemp("sources")
    data = root / "val"
    data.mkdir()
    for i, name in enumerate(HOSTILE):
        write_jpeg(data / name, i, (300, 260))
    (data / "broken.JPEG").write_bytes(b"no image")
    labels = root / "labels.txt"
    rows = [f"{name} {i}\n" for i, name in enumerate([*HOSTILE, "broken.JPEG"])]
    labels.write_text("".join(rows), "utf-8", "surrogateescape")
    done = run_engine(
        "run", "--data", data, "--labels", labels, "--model", "fingerprint", "--backend", "sim", "--devices", "0,1",
        "--batch", 1, "--workers", 1, "--repeat", 60, "--out", root / "run", "--no-log", "--max-failed-percent", 100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    job = SweepJob(SPACE, [], "grid", 12, SweepPlan(Objective()), root / "sweep")
    run_sweep(job, lambda _: None, measure_on(SCENARIOS[0], 0.01))
    write_log(
        root / "log", [entry(600 + i % 4) for i in range(12)] + [entry(560 + i % 4, label="<b>") for i in range(12)]
    )
    return {kind: root / kind for kind in KINDS}


@pytest.fixture(scope="module")
def pages(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    for kind, source in sources.items():
        done = call_engine("report", source, "-o", root / f"{kind}.html")
        assert done.returncode == 0, done.stderr
    return {kind: root / f"{kind}.html" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_one_small_file_that_asks_for_nothing(pages: dict[str, Path], kind: str) -> None:
    text = pages[kind].read_text("utf-8")
    assert len(text.encode()) < MOST_BYTES
    markup = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL)
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", markup) == []
    assert "default-src 'none'" in markup


def open_in_browser(page: Path) -> tuple[str, str]:
    """(the document after its scripts ran, what the browser's console said)"""
    if BROWSER is None:
        pytest.skip("needs a browser: apt-get install chromium")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         "--window-size=500,900", "--virtual-time-budget=20000", f"--user-data-dir={page.parent / 'profile'}",
         page.as_uri()],
        capture_output=True, timeout=200, check=False,
    )  # fmt: skip
    console = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if "CONSOLE" in line]
    return done.stdout.decode("utf-8", "replace"), "\n".join(console)


@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_draws_every_plot_without_an_error_and_nothing_is_wider_than_a_phone(
    pages: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """At 500 pixels, the least that a window of Chromium can be: the layout is that of phones from 736 on down."""
    measured = (
        "<script>{const root = document.documentElement;"
        "document.body.dataset.beyond = root.scrollWidth - root.clientWidth}</script>"
    )
    page = tmp_path / "page.html"
    page.write_text(pages[kind].read_text("utf-8").replace("</body>", f"{measured}</body>"), "utf-8")
    document, console = open_in_browser(page)
    assert console == ""
    assert 'data-beyond="0"' in document
    assert 'data-ready="true"' in document
    plots = re.findall(r'<div class="plot[^"]*" id="(plot-[^"]+)"', document)
    assert len(plots) == {"run": 4, "sweep": 7, "log": 1}[kind]
    for name in plots:
        drawn = document.split(f'id="{name}"', 1)[1].split("</figure>", 1)[0]
        assert 'class="main-svg"' in drawn, name
        assert re.search(r"<p class=\"alt\">[^<]{20,}", drawn), name


def test_a_click_sorts_numbers_as_numbers(pages: dict[str, Path], tmp_path: Path) -> None:
    text = pages["sweep"].read_text("utf-8")
    click = "<script>{const b=document.querySelectorAll('#combinations th button');b[4].click();b[4].click();}</script>"
    (tmp_path / "page.html").write_text(text.replace("</body>", f"{click}</body>"), "utf-8")
    document, console = open_in_browser(tmp_path / "page.html")
    assert console == ""
    assert 'aria-sort="descending"' in document
    body = document.split('id="combinations"', 1)[1].split("<tbody>", 1)[1].split("</tbody>", 1)[0]
    values = [[float(v) for v in re.findall(r'data-value="([^"]+)"', row)] for row in body.split("</tr>")]
    rates = [row[-2] for row in values if row]
    assert len(rates) == len(SPACE)
    assert rates == sorted(rates, reverse=True)


def test_names_of_files_are_text_and_never_markup(pages: dict[str, Path]) -> None:
    text = pages["run"].read_text("utf-8")
    for name in HOSTILE[:2]:
        assert name not in text
        assert html.escape(name) in text
    assert "no valid prediction" in text
    assert text.count("data:image/jpeg;base64,") == len(HOSTILE)
    assert "cannot be shown: UnidentifiedImageError" in text


def test_the_headline_says_how_fast_how_right_what_limits_and_simulated(
    sources: dict[str, Path], pages: dict[str, Path]
) -> None:
    document = json.loads((sources["run"] / "run.json").read_text())
    head = pages["run"].read_text("utf-8").split("</header>", 1)[0]
    rate, top1 = document["throughput"]["end_to_end_per_s"], document["accuracy"]["top1"]
    expected = f"{rate:,.1f} images/s end to end; Top-1 {100 * top1:.3f} %; {document['verdict']['text']}"
    assert expected in html.unescape(head)
    assert "SIMULATED chips" in head


def test_a_sweeps_page_names_the_best_and_a_logs_page_the_slowdown(sources: dict[str, Path]) -> None:
    with (sources["sweep"] / "sweep.csv").open(newline="") as file:
        best = next(row for row in csv.DictReader(file) if row["is_best"] == "True")
    text = call_engine("report", sources["sweep"], "--format", "md").stdout
    assert f"best: batch={best['batch']} workers={best['workers']}" in text
    assert f"| batch | {best['batch']} | of the best |" in text
    log = call_engine("report", sources["log"], "--format", "md").stdout
    assert re.search(r"\*\*fingerprint, sim, batch 8: slower, -6\.\d\d % since 12 runs ago\*\*", log)
    assert "| \\<b\\> |" in log


def test_markdown_of_a_run_is_readable_without_a_browser(sources: dict[str, Path]) -> None:
    text = call_engine("report", sources["run"], "--format", "md").stdout
    assert "**SIMULATED chips, profile resnext101\\_32x8d-310: their rates are published figures**" in text
    assert "| read + decode + resize | 1 decoder | up to " in text
    assert "a\\|b\\*c.JPEG" in text
    assert "<img" not in text.replace("\\<img", "")


def test_flips_against_another_run_are_listed(small_data: DataSet, sources: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(sources["run"], other)
    rows = (other / "predictions.csv").read_text("utf-8", "surrogateescape").splitlines()
    at = next(i for i, row in enumerate(rows) if row.startswith("a|b*c"))
    parts = rows[at].split(",")
    parts[3] = " ".join(["999", *parts[3].split()[1:]])
    rows[at] = ",".join(parts)
    (other / "predictions.csv").write_text("\n".join(rows) + "\n", "utf-8", "surrogateescape")
    text = call_engine("report", sources["run"], "--against", other, "--format", "md").stdout
    assert f"1 of {len(HOSTILE) + 1} images are predicted otherwise than in" in text
    assert re.search(r"\| a\\\|b\\\*c\.JPEG \| \d+ \| 999 \| \d+ \|", text)


def test_a_folder_outside_of_the_data_is_not_read(sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(sources["run"], out)
    write_jpeg(tmp_path / "secret.JPEG", 1, (50, 50))
    document = json.loads((out / "run.json").read_text())
    document["config"]["data"] = str(tmp_path / "run")
    (out / "run.json").write_text(json.dumps(document))
    rows = (out / "predictions.csv").read_text("utf-8", "surrogateescape").splitlines()
    rows[1] = "../secret.JPEG,5,0,,,FAILED: x"
    (out / "predictions.csv").write_text("\n".join(rows) + "\n", "utf-8", "surrogateescape")
    text = call_engine("report", out, "--format", "md").stdout
    assert "../secret.JPEG: class 5; no valid prediction; outside of the data" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is nothing to make a page of: needed the folder of a run (run.json) or of a sweep, or a perf log"),
        ("{", "is no run.json: "),
        ("[]", "is no run.json: needed"),
        ("{}", "is no whole run.json of this engine: KeyError('config')"),
    ],
)
def test_what_is_no_result_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    done = call_engine("report", tmp_path, "-o", tmp_path / "page.html")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 16
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(("place", "why"), [("gone/page.html", "No such file or directory"), ("", "Is a directory")])
def test_a_page_that_cannot_be_written_is_one_line(
    sources: dict[str, Path], tmp_path: Path, place: str, why: str
) -> None:
    refused = run_engine("report", sources["run"], "-o", tmp_path / place)
    assert refused.returncode == 6
    assert refused.stderr == f"engine: {tmp_path / place} cannot be written: {why}: choose another place\n"


def test_a_run_is_held_against_the_earlier_runs_of_its_options(tmp_path: Path) -> None:
    def logged(rate: float, **changes: Any) -> dict[str, Any]:
        return entry_of(entry(rate, devices=[{"name": "310"}], **changes), LogOptions("run"))

    document = entry(570.0, devices=[{"name": "310"}])
    others = [logged(rate) for rate in [600.0, 601.0] * 10]
    alien = logged(9999.0, config__batch=1)
    card = before_card(document, PerfLog(tmp_path / "log", [alien, *others], {}))
    assert (card.value, card.tone) == ("-5.08 %", "bad")
    assert card.note == "20 earlier runs: 600.0 to 601.0 /s; slower"
    later = PerfLog(tmp_path / "log", [others[0], entry_of(document, LogOptions("run")), *others[1:]], {})
    assert before_card(document, later).note == "1 earlier run: 600.0 /s; inconclusive"
    assert before_card(document, PerfLog(tmp_path / "log", [alien], {})).value == "first"
