"""The timeline: what overlaps, what queues, and that a busy host does not slow a chip."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine import pyacl_stubs
from engine.pyacl_stubs.clock import RealClock
from engine.pyacl_stubs.numerics import Arrays, Computation
from engine.pyacl_stubs.process import PROCESS
from engine.pyacl_stubs.schedule import Lane
from tests.simulator.conftest import Start

MIB = 1 << 20
TIME_LINE = 8


class Bench:
    """Streams, events and memory by name, for tests of durations."""

    def __init__(self, acl: Any, om: str, n_models: int = 1) -> None:
        self.acl = acl
        self.device = acl.rt.malloc(64 * MIB, 0)[0]
        self.host = acl.rt.malloc_host(64 * MIB)[0]
        self.models = [acl.mdl.load_from_file(om)[0] for _ in range(n_models)]
        desc = acl.mdl.create_desc()
        acl.mdl.get_desc(desc, self.models[0])
        self.sets = []
        for size in (acl.mdl.get_input_size_by_index(desc, 0), acl.mdl.get_output_size_by_index(desc, 0)):
            self.sets.append(acl.mdl.create_dataset())
            acl.mdl.add_dataset_buffer(self.sets[-1], acl.create_data_buffer(acl.rt.malloc(size, 0)[0], size))

    def stream(self) -> int:
        return self.acl.rt.create_stream()[0]

    def mark(self, stream: int) -> int:
        event = self.acl.rt.create_event_with_flag(TIME_LINE)[0]
        assert self.acl.rt.record_event(event, stream) == 0
        return event

    def copy_in(self, stream: int, n_bytes: int = 64 * MIB) -> None:
        assert self.acl.rt.memcpy_async(self.device, n_bytes, self.host, n_bytes, 1, stream) == 0

    def copy_out(self, stream: int, n_bytes: int = 64 * MIB) -> None:
        assert self.acl.rt.memcpy_async(self.host, n_bytes, self.device, n_bytes, 2, stream) == 0

    def execute(self, stream: int, model: int = 0) -> None:
        assert self.acl.mdl.execute_async(self.models[model], *self.sets, stream) == 0

    def ms(self, start: int, end: int) -> float:
        elapsed, ret = self.acl.rt.event_elapsed_time(start, end)
        assert ret == 0
        return elapsed


@pytest.fixture
def bench(start: Start, tiny_om: Callable[..., str]) -> Bench:
    return Bench(start(strictness="documented"), tiny_om(16), n_models=2)


EXECUTE_MS = 16 / 165.952 * 1000
COPY_MS = (64 * MIB / 2.75 + 10_000) / 1e6


def test_an_execute_takes_the_published_time(bench: Bench) -> None:
    """Batch 16 of ResNeXt101 at 165.952 images/s."""
    stream = bench.stream()
    marks = [bench.mark(stream)]
    for _ in range(3):
        bench.execute(stream)
        marks.append(bench.mark(stream))
    assert bench.acl.rt.synchronize_stream(stream) == 0
    for first, second in itertools.pairwise(marks):
        assert bench.ms(first, second) == pytest.approx(EXECUTE_MS, abs=1e-5)


def test_copies_run_beside_the_execution_and_beside_each_other(bench: Bench) -> None:
    """Three streams: the whole takes as long as the longest."""
    streams = [bench.stream() for _ in range(3)]
    start = bench.mark(streams[0])
    bench.copy_in(streams[0])
    bench.execute(streams[1])
    bench.copy_out(streams[2])
    ends = [bench.mark(stream) for stream in streams]
    assert bench.acl.rt.synchronize_device() == 0
    assert [bench.ms(start, end) for end in ends] == pytest.approx([COPY_MS, EXECUTE_MS, COPY_MS], abs=1e-4)


def test_one_stream_adds_up(bench: Bench) -> None:
    """The same on one stream is the sum."""
    stream = bench.stream()
    start = bench.mark(stream)
    bench.copy_in(stream)
    bench.execute(stream)
    bench.copy_out(stream)
    end = bench.mark(stream)
    assert bench.acl.rt.synchronize_stream(stream) == 0
    assert bench.ms(start, end) == pytest.approx(2 * COPY_MS + EXECUTE_MS, abs=1e-4)


def test_a_chip_computes_one_thing_at_a_time(bench: Bench) -> None:
    """Two models on two streams share the compute queue; two copies in share the copy engine."""
    first, second = bench.stream(), bench.stream()
    start = bench.mark(first)
    bench.execute(first, 0)
    bench.execute(second, 1)
    computed = bench.mark(second)
    assert bench.acl.rt.synchronize_device() == 0
    assert bench.ms(start, computed) == pytest.approx(2 * EXECUTE_MS, abs=1e-4)
    start = bench.mark(first)
    bench.copy_in(first)
    bench.copy_in(second)
    copied = bench.mark(second)
    assert bench.acl.rt.synchronize_device() == 0
    assert bench.ms(start, copied) == pytest.approx(2 * COPY_MS, abs=1e-4)


def test_a_wait_orders_two_streams(bench: Bench) -> None:
    """stream_wait_event: the second begins when the first is done."""
    first, second = bench.stream(), bench.stream()
    start = bench.mark(first)
    bench.copy_in(first)
    copied = bench.mark(first)
    assert bench.acl.rt.stream_wait_event(second, copied) == 0
    bench.execute(second)
    end = bench.mark(second)
    assert bench.acl.rt.synchronize_event(end) == 0
    assert bench.ms(start, end) == pytest.approx(COPY_MS + EXECUTE_MS, abs=1e-4)


def test_chips_are_independent(start: Start, tiny_om: Callable[..., str]) -> None:
    """Four chips execute at the same time."""
    acl = start(strictness="documented")
    now_ns = PROCESS.clock.now_ns()
    for device in range(4):
        assert acl.rt.set_device(device) == 0
        bench = Bench(acl, tiny_om(16))
        bench.execute(bench.stream())
    for device in range(4):
        assert acl.rt.set_device(device) == 0
        assert acl.rt.synchronize_device() == 0
    assert (PROCESS.clock.now_ns() - now_ns) / 1e6 == pytest.approx(EXECUTE_MS, abs=1e-4)


def test_pageable_copies_are_slow(bench: Bench) -> None:
    """0.42 GB/s against 2.75."""
    array = np.zeros(MIB, np.uint8)
    before_ns = PROCESS.clock.now_ns()
    assert bench.acl.rt.memcpy(bench.device, MIB, array.ctypes.data, MIB, 1) == 0
    assert PROCESS.clock.now_ns() - before_ns == round(10_000 + MIB / 0.42)


def test_a_callback_holds_its_stream(bench: Bench) -> None:
    """Work behind a callback begins when the callback has returned, however late that is."""
    acl, stream = bench.acl, bench.stream()
    late_ns = 700_000_000
    subscribed, context = threading.Event(), acl.rt.get_context()[0]

    def report() -> None:
        acl.rt.set_context(context)
        subscribed.wait(10)
        assert acl.rt.process_report(10_000) == 0

    thread = threading.Thread(target=report)
    thread.start()
    assert acl.rt.subscribe_report(thread.ident, stream) == 0
    start = bench.mark(stream)
    callback = acl.rt.launch_callback(lambda _: PROCESS.clock.wait_until(late_ns), None, 1, stream)
    assert callback == 0
    bench.execute(stream)
    end = bench.mark(stream)
    other = bench.stream()
    assert acl.rt.stream_wait_event(other, end) == 0
    joined = bench.mark(other)
    assert acl.rt.query_event_status(joined) == (0, 0)
    subscribed.set()
    assert acl.rt.synchronize_event(joined) == 0
    thread.join(10)
    assert bench.ms(start, joined) == pytest.approx(late_ns / 1e6 + EXECUTE_MS, rel=0.01)


def test_a_timeout_comes_in_time(bench: Bench) -> None:
    """synchronize_stream_with_timeout gives up at its limit, and the work goes on."""
    stream = bench.stream()
    bench.execute(stream)
    before_ns = PROCESS.clock.now_ns()
    assert bench.acl.rt.synchronize_stream_with_timeout(stream, 20) == 507046
    assert PROCESS.clock.now_ns() - before_ns == 20_000_000
    assert bench.acl.rt.synchronize_stream(stream) == 0


def test_a_lane_fills_gaps() -> None:
    """What is ready first runs first, where it fits before what was placed for later."""
    lane = Lane()
    assert lane.reserve(100, 10, 0) == 100
    assert lane.reserve(0, 50, 0) == 0
    assert lane.reserve(0, 60, 0) == 110
    assert lane.reserve(20, 50, 0) == 50
    assert lane.reserve(1000, 5, 900) == 1000


def test_real_time_is_kept(start: Start, tiny_om: Callable[..., str]) -> None:
    """Ten executes of batch 1 take at least 69.1 ms, as the events say too."""
    acl = start(strictness="documented", clock="real")
    bench = Bench(acl, tiny_om(1))
    stream = bench.stream()
    begin = time.perf_counter_ns()
    first = bench.mark(stream)
    for _ in range(10):
        bench.execute(stream)
    last = bench.mark(stream)
    assert acl.rt.synchronize_event(last) == 0
    took_ms = (time.perf_counter_ns() - begin) / 1e6
    assert bench.ms(first, last) == pytest.approx(10_000 / 144.766, rel=0.02)
    assert took_ms >= 10_000 / 144.766


def test_a_busy_host_does_not_slow_the_chip(start: Start, tiny_om: Callable[..., str]) -> None:
    """Numerics that take long are reported late; the timeline keeps the profile's times."""
    acl = start(strictness="documented", clock="real", profile="alexnet-310")
    bench = Bench(acl, tiny_om(1))
    model = PROCESS.models[bench.models[0]]
    fast = model.numerics
    gate = threading.Event()

    def slow(inputs: Arrays, outputs: Arrays) -> Computation:
        def run() -> None:
            assert gate.wait(10)
            fast(inputs, outputs).run()

        return Computation(outputs, run)

    model.numerics = slow
    stream = bench.stream()
    bench.execute(stream)
    first = bench.mark(stream)
    for _ in range(4):
        bench.execute(stream)
    last = bench.mark(stream)
    time_ns = PROCESS.handles[last].record.time_ns
    PROCESS.clock.wait_until(time_ns)
    assert acl.rt.query_event_status(last) == (0, 0)
    gate.set()
    assert acl.rt.synchronize_event(last) == 0
    assert bench.ms(first, last) == pytest.approx(4 * 1000 / 317.707, rel=0.05)


def test_executing_holds_the_gil(start: Start, tiny_om: Callable[..., str]) -> None:
    """A thread that looks at the time all the while sees nothing for most of a blocking execute of 296 ms."""
    acl = start(strictness="documented", clock="real")
    bench = Bench(acl, tiny_om(32))
    seen = Watcher()
    assert acl.mdl.execute(bench.models[0], *bench.sets) == 0
    assert seen.longest_gap_ns() >= 150_000_000


def test_synchronising_releases_the_gil(start: Start, tiny_om: Callable[..., str]) -> None:
    """The same thread goes on while another one synchronises."""
    acl = start(strictness="documented", clock="real")
    bench = Bench(acl, tiny_om(8))
    stream = bench.stream()
    seen = Watcher()
    bench.execute(stream)
    n_before = seen.n_looks
    assert acl.rt.synchronize_stream(stream) == 0
    n_during = seen.n_looks - n_before
    seen.longest_gap_ns()
    assert n_during > 100


class Watcher:
    """A thread that notes how long it could not run."""

    def __init__(self) -> None:
        self.n_looks = 0
        self._longest_ns = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        last_ns = time.perf_counter_ns()
        is_last = False
        while not is_last:
            is_last = self._ended.is_set()
            now_ns = time.perf_counter_ns()
            self._longest_ns = max(self._longest_ns, now_ns - last_ns)
            last_ns = now_ns
            self.n_looks += 1

    def longest_gap_ns(self) -> int:
        """End the thread; the longest time between two of its looks."""
        self._ended.set()
        self._thread.join(10)
        return self._longest_ns


def test_waits_do_not_burn_the_core() -> None:
    """A hundred waits of a millisecond cost less than a third of a core and are not short."""
    clock = RealClock()
    begin_ns, begin_cpu = time.perf_counter_ns(), time.thread_time_ns()
    for i in range(100):
        until_ns = begin_ns + (i + 1) * 1_000_000
        clock.wait_until(until_ns)
        assert time.perf_counter_ns() >= until_ns
    assert time.thread_time_ns() - begin_cpu < 33_000_000


def test_jitter_is_seeded(start: Start, tiny_om: Callable[..., str]) -> None:
    """The same seed gives the same times, jitter varies them."""
    times = []
    for seed in (1, 1, 2):
        pyacl_stubs.reset()
        acl = start(strictness="documented", seed=seed, jitter=0.05)
        bench = Bench(acl, tiny_om(1))
        stream = bench.stream()
        marks = [bench.mark(stream)]
        for _ in range(3):
            bench.execute(stream)
            marks.append(bench.mark(stream))
        assert acl.rt.synchronize_stream(stream) == 0
        times.append([bench.ms(a, b) for a, b in itertools.pairwise(marks)])
    assert times[0] == times[1] != times[2]
    assert len(set(times[0])) == 3
