"""Time per operator: records, sums by operator type, and the two CSV files that CANN's profiler writes."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.files import atomic_write

#: Columns of msprof's files (op_statistic_0_1.csv, op_summary_0_1.csv), as far as they mean something off the chip.
STATISTIC_COLUMNS = (
    "Model Name",
    "OP Type",
    "Core Type",
    "Count",
    "Total Time(us)",
    "Min Time(us)",
    "Avg Time(us)",
    "Max Time(us)",
    "Ratio(%)",
)
SUMMARY_COLUMNS = (
    "Model Name",
    "Model ID",
    "Task ID",
    "Stream ID",
    "Infer ID",
    "Op Name",
    "OP Type",
    "Task Type",
    "Task Start Time(us)",
    "Task Duration(us)",
    "Task Wait Time(us)",
    "Block Dim",
    "Input Shapes",
    "Input Data Types",
    "Output Shapes",
    "Output Data Types",
)


@dataclass(frozen=True)
class OpRecord:
    """One execution of one operator.

    infer_id : which inference, from 1        core : what it ran on        shapes and types : as msprof writes them
    """

    infer_id: int
    name: str
    op_type: str
    core: str
    start_us: float
    duration_us: float
    input_shapes: str = ""
    input_types: str = ""
    output_shapes: str = ""
    output_types: str = ""


@dataclass(frozen=True)
class OpStatistic:
    """All executions of the operators of one type, or of one operator."""

    name: str
    core: str
    count: int
    total_us: float
    min_us: float
    max_us: float
    ratio: float  # percent of all time

    @property
    def mean_us(self) -> float:
        return self.total_us / self.count


@dataclass(frozen=True)
class OpProfile:
    """A profile of one model at one batch size. by_operator : empty where only sums by type are known"""

    model: str
    batch: int
    about: str
    by_type: list[OpStatistic]
    by_operator: list[OpStatistic]


def statistics(records: Sequence[OpRecord], by_operator: bool = False) -> list[OpStatistic]:
    """Sums, the greatest first; by operator type, or by ``type name`` of each operator."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        name = f"{record.op_type} {record.name}" if by_operator else record.op_type
        groups[name, record.core].append(record.duration_us)
    whole = sum(record.duration_us for record in records) or 1.0
    rows = [
        OpStatistic(name, core, len(times), sum(times), min(times), max(times), 100 * sum(times) / whole)
        for (name, core), times in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row.total_us, row.name))


def statistic_csv(model: str, rows: Sequence[OpStatistic]) -> str:
    """The content of op_statistic_0_1.csv."""
    return _csv(
        STATISTIC_COLUMNS,
        [
            (
                model,
                row.name,
                row.core,
                row.count,
                *(f"{value:.3f}" for value in (row.total_us, row.min_us, row.mean_us, row.max_us, row.ratio)),
            )
            for row in rows
        ],
    )


def summary_csv(model: str, records: Sequence[OpRecord]) -> str:
    """The content of op_summary_0_1.csv: every execution, in order."""
    rows = []
    ended: dict[int, float] = {}
    for task, record in enumerate(records):
        wait = max(0.0, record.start_us - ended.get(record.infer_id, record.start_us))
        ended[record.infer_id] = record.start_us + record.duration_us
        times = (f"{record.start_us:.3f}", f"{record.duration_us:.3f}", f"{wait:.3f}")
        shapes = (record.input_shapes, record.input_types, record.output_shapes, record.output_types)
        ids = (model, 1, task, 0, record.infer_id)
        rows.append((*ids, record.name, record.op_type, record.core, *times, 1, *shapes))
    return _csv(SUMMARY_COLUMNS, rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def write_csv(model: str, records: Sequence[OpRecord], out: Path) -> list[Path]:
    """Both files in `out`."""
    paths = [out / "op_statistic_0_1.csv", out / "op_summary_0_1.csv"]
    atomic_write(paths[0], statistic_csv(model, statistics(records)).encode())
    atomic_write(paths[1], summary_csv(model, records).encode())
    return paths


def table(rows: Sequence[OpStatistic], n_inferences: int, most: int) -> list[str]:
    """The greatest rows for a terminal of 80 columns."""
    lines = [f"{'operator':46} {'calls':>6} {'ms/batch':>10} {'us/call':>9} {'%':>5}"]
    for row in rows[:most]:
        name = row.name if len(row.name) <= 46 else f"{row.name[:22]}..{row.name[-22:]}"
        per_batch_ms = row.total_us / n_inferences / 1e3
        calls = row.count // n_inferences if row.count % n_inferences == 0 else row.count / n_inferences
        lines.append(f"{name:46} {calls:>6g} {per_batch_ms:10.3f} {row.mean_us:9.1f} {row.ratio:5.1f}")
    return lines


def growth(small: OpProfile, large: OpProfile, n_small: int, n_large: int) -> list[tuple[str, float, float]]:
    """(operator type, ms per image at the larger batch, that over the same at the smaller one), the costliest growth
    first: what makes a larger batch slower per image. n_small, n_large : inferences of each profile"""
    before = {row.name: row.total_us / n_small / small.batch for row in small.by_type}
    rows = []
    for row in large.by_type:
        now = row.total_us / n_large / large.batch
        if before.get(row.name):
            rows.append((row.name, now / 1e3, now / before[row.name], now - before[row.name]))
    return [(name, ms, factor) for name, ms, factor, _ in sorted(rows, key=lambda item: -item[3])]
