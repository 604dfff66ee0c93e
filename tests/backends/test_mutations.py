"""Mistakes that a change of the backend could make, one by one: strict simulated chips catch each.

Each mutation rewrites the backend's own source. The harness drives one chip as the feeder does, in virtual time, on a
profile where a copy in takes as long as an execute. What it returns is everything that went wrong: reports of the
simulator, the backend's own error, wrong scores, copies that did not overlap the execution.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine.backends
from engine import pyacl_stubs
from engine.backends.base import DeviceJob
from engine.errors import EngineError
from engine.pyacl_stubs import acl
from engine.pyacl_stubs.om import OmVariant, build_om
from engine.pyacl_stubs.process import PROCESS
from kernels import reference

FOLDER = Path(engine.backends.__file__).parent
SHAPE, N_CLASSES, BATCH, N_BATCHES = (3, 8, 8), 10, 4, 8
WINDOW = 2
PATIENCE_S = 20
IN_BYTES = BATCH * 3 * 8 * 8 * 4

#: name: (file, what is there, what the mistake makes of it, words of what must be said)
MUTATIONS = {
    "no wait for the copy in": ("acl", "*self._join(staging.copied_in, h2d, execute),", "", "race: "),
    "no wait for the execute": ("acl", "*self._join(staging.executed, execute, d2h),", "", "race: "),
    "joins without the wait": ("acl", 'call("rt.stream_wait_event", then, event),', "", "race: "),
    "joins without the record": ("acl", 'call("rt.record_event", event, first),', "", "was never recorded"),
    "no synchronise": ("acl", "self._acl.run(staging.until_done)", "pass", "RT_EVENT_NOT_COMPLETE"),
    "synchronise with the execute only": (
        "acl_staging",
        '"rt.synchronize_event", self.marks[4]',
        '"rt.synchronize_event", self.marks[3]',
        "RT_EVENT_NOT_COMPLETE",
    ),
    "scores read before the synchronise": (
        "acl",
        "self._acl.run(staging.until_done)",
        "s = staging.scores.copy(); self._acl.run(staging.until_done); staging.scores[:] = s",
        "executed a batch without scores",
    ),
    "staging reused while it is in flight": (
        "acl",
        "self._acl.run(staging.until_done)",
        "self._free.put(staging); self._acl.run(staging.until_done)",
        "was changed between the call",
    ),
    "device memory freed while it is in use": (
        "acl",
        'call("rt.record_event", marks[1], h2d)',
        'call("rt.free", staging.device_in)',
        "is still in use by",
    ),
    "host memory freed while it is in use": (
        "acl",
        'call("rt.record_event", marks[1], h2d)',
        'call("rt.free_host", staging.host_in)',
        "is still in use by",
    ),
    "swapped source and target": (
        "acl",
        "staging.device_in, in_bytes, staging.host_in,",
        "staging.host_in, in_bytes, staging.device_in,",
        "does not fit its target",
    ),
    "swapped directions": ("acl", "in_bytes, HOST_TO_DEVICE,", "in_bytes, DEVICE_TO_HOST,", "does not fit its target"),
    "swapped datasets": (
        "acl",
        "staging.dataset_in, staging.dataset_out",
        "staging.dataset_out, staging.dataset_in",
        "needs",
    ),
    "swapped arguments of stream_wait_event": (
        "acl",
        '"rt.stream_wait_event", then, event',
        '"rt.stream_wait_event", event, then',
        "a stream is needed",
    ),
    "swapped arguments of record_event": (
        "acl",
        '"rt.record_event", event, first',
        '"rt.record_event", first, event',
        "a event is needed",
    ),
    "swapped arguments of get_desc": (
        "acl",
        '"get_desc", self._desc, self._model_id',
        '"get_desc", self._model_id, self._desc',
        "is no desc",
    ),
    "swapped arguments of event_elapsed_time": ("acl", "begin, end) * MS", "end, begin) * MS", "REVERSAL"),
    "threads without a context": (
        "acl",
        'self._acl.rt("set_context", self._context)',
        "pass",
        "this thread has no context",
    ),
    "context of the first thread only": (
        "acl",
        "class Bound(threading.local)",
        "class Bound",
        "this thread has no context",
    ),
    "one stream instead of three": (
        "acl",
        '(rt("create_stream") for _ in range(3))',
        '[rt("create_stream")] * 3',
        "copies and executions do not overlap",
    ),
    "execute in the stream of the copies out": (
        "acl",
        "staging.dataset_out, execute)",
        "staging.dataset_out, d2h)",
        "race: ",
    ),
    "copies out beyond the rows": ("acl", "n * model.row_bytes", "9 * n * model.row_bytes", "beyond"),
    "half of the batch copied in": (
        "acl",
        "in_bytes, out_bytes = n *",
        "in_bytes, out_bytes = max(1, n // 2) *",
        "wrong scores",
    ),
    "execute before the copy in is queued": (
        "acl",
        'call("rt.record_event", marks[0], h2d)',
        'call("mdl.execute_async", self._model_id, staging.dataset_in, staging.dataset_out, execute)',
        "race: ",
    ),
    "pageable staging": (
        "acl_staging",
        'self._rt("malloc_host", image_bytes), self._rt',
        "(self.__dict__.setdefault('own', np.zeros(image_bytes, np.uint8))).ctypes.data, self._rt",
        "is pageable",
    ),
    "unaligned staging": (
        "acl_staging",
        'self._rt("malloc_host", image_bytes), self._rt',
        'self._rt("malloc_host", image_bytes + 8) + 8, self._rt',
        "is not 64-byte aligned",
    ),
    "one device buffer for the whole window": (
        "acl_staging",
        '(self._rt("malloc", n, HUGE_FIRST), n)',
        '(self._acl.__dict__.get(n) or self._acl.__dict__.setdefault(n, self._rt("malloc", n, HUGE_FIRST)), n)',
        "race: ",
    ),
    "a buffer smaller than the tensor": (
        "acl_staging",
        "[(self.device_out, model.output_bytes)]",
        "[(self.device_out, model.output_bytes - 4)]",
        "needs 160",
    ),
    "events without a time line": (
        "acl_staging",
        '"create_event_with_flag", TIME_LINE',
        '"create_event_with_flag", 1',
        "has no time: create it with flag 0x8",
    ),
    "staging left allocated": ("acl", "staging.release()", "pass", "not released: "),
    "data buffers left alive": (
        "acl_staging",
        'self._owned.append(("", "destroy_data_buffer", buffer))',
        "pass",
        "not released: data buffer",
    ),
    "model left loaded": ("acl", 'mdl("unload", self._model_id)', "pass", "before its own release: model"),
    "description left alive": ("acl", 'mdl("destroy_desc", self._desc)', "pass", "model description"),
    "streams left alive": ("acl", 'rt("destroy_stream", stream)', "pass", "stream"),
    "context before its streams": (
        "acl",
        'mdl("unload", self._model_id)',
        'rt("destroy_context", self._context)',
        "acl.rt.destroy_context at acl_calls.py",
    ),
    "device not reset": ("acl", 'rt("reset_device", self._acl.chip)', "pass", "not released: "),
    "finalize without closing the chips": ("acl", "            chip.close()", "            pass", "not released: "),
    "no init": ("acl", 'self._acl.top("init")', "pass", "UNINITIALIZE"),
    "dynamic batch not set": ("acl", "if model.gears:", "if False:", "call acl.mdl.set_dynamic_batch_size before"),
    "dynamic batch of the largest gear only": ("acl", "gear = model.gear(n)", "gear = 64", "64"),
    "dynamic batch told to the images": (
        "acl",
        "staging.dataset_in, model.gear_index, gear",
        "staging.dataset_in, model.image_index, gear",
        "ascend_mbatch_shape_data",
    ),
}


def mutated(file: str, old: str, new: str) -> Callable[[DeviceJob], Any]:
    """`open_backend` of a backend whose source is changed in one place."""
    changed = (FOLDER / f"{file}.py").read_text()
    assert changed.count(old) >= 1, f"{old!r} is not in {file}.py any more"
    modules = {}
    for name, source in {"acl_staging": None, "acl": None, file: changed.replace(old, new, 1)}.items():
        modules[name] = types.ModuleType(f"mutated_{name}")
        code = source or (FOLDER / f"{name}.py").read_text()
        exec(compile(code, f"{name}.py", "exec"), modules[name].__dict__)
    modules["acl"].__dict__["Staging"] = modules["acl_staging"].Staging
    return modules["acl"].open_backend  # type: ignore[no-any-return]


def drive(open_backend: Callable[[DeviceJob], Any], job: DeviceJob) -> str:
    """Everything that went wrong, one a line; empty for a sound backend."""
    wrong: list[str] = []
    try:
        backend = open_backend(job)
        _feed(backend.devices[0], wrong)
        backend.close()
    except EngineError as error:
        wrong.append(str(error))
    if PROCESS.state == "ready":
        acl.finalize()  # reports what is left
    return "\n".join([*map(str, pyacl_stubs.reports()), *wrong])


def _feed(device: Any, wrong: list[str]) -> None:
    """Batches, the last one short, from a thread that submits and one that waits; two in flight."""
    rng = np.random.default_rng(1)
    batches = [rng.standard_normal((n, *SHAPE)).astype(np.float32) for n in [BATCH] * (N_BATCHES - 1) + [1]]
    outs = [np.zeros((len(batch), N_CLASSES), np.float32) for batch in batches]
    busy_ns = 0
    with ThreadPoolExecutor(1) as submitter, ThreadPoolExecutor(1) as waiter:
        for i in range(N_BATCHES + WINDOW):
            if i >= WINDOW:
                completion = waiter.submit(device.wait).result(timeout=PATIENCE_S)
                busy_ns += completion.h2d_ns + completion.execute_ns + completion.d2h_ns
            if i < N_BATCHES:
                submitter.submit(device.submit, batches[i], outs[i]).result(timeout=PATIENCE_S)
    for batch, out in zip(batches, outs, strict=True):
        expected = np.zeros_like(out)
        reference.fingerprint_logits(batch.reshape(len(batch), -1).view(np.uint8), expected)
        if not (out == expected).all():
            wrong.append("wrong scores")
    if busy_ns < 1.3 * PROCESS.clock.now_ns():
        wrong.append("copies and executions do not overlap")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., DeviceJob]]:
    """``job(gears)``: a model for one strict simulated chip whose copies in take as long as its executes."""
    pyacl_stubs.reset()
    profile = tmp_path / "copies.toml"
    profile.write_text(
        'model = "m"\nsoc = "Ascend310"\nsource = "a test"\n[execute]\nms = { "1" = 0.25, "4" = 1.0 }\n'
        f"[copy]\nh2d_pinned_gb_per_s = {IN_BYTES / 1e6}\nlatency_us = 0.0\n"
    )

    def make(gears: tuple[int, ...] = (), faults: str = "") -> DeviceJob:
        om = tmp_path / "m.om"
        build_om("fingerprint", om, BATCH, image=SHAPE, n_classes=N_CLASSES, variant=OmVariant(gears=gears))
        settings = {"strictness": "strict", "clock": "virtual", "faults": faults}
        options = {"simulated": True, "profile": str(profile), "settings": settings}
        return DeviceJob(str(om), (0,), BATCH, WINDOW, 1, SHAPE[1], options)

    yield make
    pyacl_stubs.reset()


@pytest.mark.parametrize("gears", [(), (1, 2, 4, 8)])
def test_the_backend_is_silent_and_right(gears: tuple[int, ...], job: Callable[..., DeviceJob]) -> None:
    assert drive(mutated("acl", "", ""), job(gears)) == ""


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_is_caught(name: str, job: Callable[..., DeviceJob]) -> None:
    file, old, new, words = MUTATIONS[name]
    gears = (1, 2, 4, 8) if "dynamic" in name else ()
    assert words in drive(mutated(file, old, new), job(gears))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("acl.mdl.execute_async:3=507011@queue", "acl.rt.synchronize_event failed on chip 0: RT_MODEL_EXECUTE"),
        ("acl.rt.memcpy_async:9=507013@queue", "acl.rt.synchronize_event failed on chip 0: RT_SYS_DMA"),
        ("acl.rt.memcpy_async:10=507013@queue", "acl.rt.synchronize_event failed on chip 0: RT_SYS_DMA"),
    ],
)
def test_what_fails_in_a_stream_is_told_before_its_scores_count(
    fault: str, said: str, job: Callable[..., DeviceJob]
) -> None:
    """An execution, a copy in, a copy out: deferred errors are those of three streams."""
    text = drive(mutated("acl", "", ""), job(faults=fault))
    assert said in text
    assert "wrong scores" not in text


def test_errors_of_the_copies_in_must_be_asked_for(job: Callable[..., DeviceJob]) -> None:
    """Else the chip executes what lay there before."""
    open_backend = mutated("acl_staging", "for mark in (1, 3)]", "for mark in (3,)]")
    assert "wrong scores" in drive(open_backend, job(faults="acl.rt.memcpy_async:8=507013@queue"))


def test_a_failed_execution_is_found_even_if_no_event_tells(job: Callable[..., DeviceJob]) -> None:
    """The scores were poisoned before; the stream is asked why."""
    open_backend = mutated("acl_staging", "for mark in (1, 3)]", "for mark in (1,)]")
    text = drive(open_backend, job(faults="acl.mdl.execute_async:3=507011@queue"))
    assert "acl.rt.synchronize_stream failed on chip 0: RT_MODEL_EXECUTE" in text
    assert "wrong scores" not in text
