"""The scheduler against its rules, for drawn programs of copies, executes, records and waits."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.pyacl_stubs.schedule import Lane, Record, Schedule, Stream
from engine.pyacl_stubs.tasks import Task

N_STREAMS, N_LANES = 4, 3

#: (what, stream, lane or index of a record, duration or pause)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["task", "record", "wait", "pause", "hold", "release"]),
        st.integers(0, N_STREAMS - 1),
        st.integers(0, 7),
        st.integers(0, 40),
    ),
    max_size=40,
)


@dataclass
class Program:
    """A drawn program on a schedule, with what must hold of each of its tasks."""

    now_ns: int = 0
    tasks: list[tuple[Task, int, int, int]] = field(default_factory=list)  # task, lane, duration, time of the call
    records: list[Record] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    after: dict[int, set[int]] = field(default_factory=dict)  # task -> tasks that must be before it
    record_after: dict[int, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.schedule = Schedule(lambda: self.now_ns)
        self.streams = [Stream(None, i + 1, "") for i in range(N_STREAMS)]
        self.lanes = [Lane() for _ in range(N_LANES)]
        self.behind: list[set[int]] = [set() for _ in range(N_STREAMS)]
        self.held: set[int] = set()

    def task(self, stream: int, lane: int, duration: int) -> None:
        index = len(self.tasks)
        made = Task(self.streams[stream], "task", lambda: self.done.append(index))
        self.tasks.append((made, lane % N_LANES, duration, self.now_ns))
        self.after[index] = set(self.behind[stream])
        self.behind[stream].add(index)
        self.schedule.queue_task(made, self.lanes[lane % N_LANES], duration, lambda task: None)

    def record(self, stream: int, *_: int) -> None:
        self.record_after[len(self.records)] = set(self.behind[stream])
        self.records.append(Record())
        self.schedule.queue_record(self.records[-1], self.streams[stream])

    def wait(self, stream: int, record: int, _: int) -> None:
        if record < len(self.records):
            self.behind[stream] |= self.record_after[record]
            self.schedule.queue_wait(self.records[record], self.streams[stream])

    def pause(self, _: int, __: int, duration: int) -> None:
        self.now_ns += duration

    def hold(self, stream: int, *_: Any) -> None:
        if not self.streams[stream].is_held:
            self.schedule.queue_hold(self.streams[stream], lambda time_ns: self.held.add(stream))

    def release(self, stream: int, *_: Any) -> None:
        if stream in self.held:
            self.held.discard(stream)
            self.schedule.release(self.streams[stream])


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_program_is_scheduled_by_the_rules(steps: list[tuple[str, int, int, int]]) -> None:
    """Not before the call; after its stream and its events; one thing at a time on a lane; effects in order."""
    program = Program()
    for what, *arguments in steps:
        getattr(program, what)(*arguments)
    while program.held:
        program.release(next(iter(program.held)))
    for index, (task, _, duration, called_ns) in enumerate(program.tasks):
        assert task.start_ns >= called_ns
        assert task.end_ns == task.start_ns + duration
        assert all(program.tasks[before][0].end_ns <= task.start_ns for before in program.after[index])
    for record, before in program.record_after.items():
        time_ns = program.records[record].time_ns
        assert time_ns is not None
        assert all(program.tasks[task][0].end_ns <= time_ns for task in before)
    check_lanes(program)
    check_effects(program)


def check_lanes(program: Program) -> None:
    """Tasks of one lane do not overlap."""
    for lane in range(N_LANES):
        times = sorted((t.start_ns, t.end_ns) for t, on, duration, _ in program.tasks if on == lane and duration)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(times))


def check_effects(program: Program) -> None:
    """Finishing the last tasks first still runs each effect once, after those that it stands on."""
    for task, *_ in reversed(program.tasks):
        task.finish()
    assert sorted(program.done) == list(range(len(program.tasks)))
    place = {index: i for i, index in enumerate(program.done)}
    for index, before in program.after.items():
        assert all(place[other] < place[index] for other in before)
