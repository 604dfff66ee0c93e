"""A small asynchronous program against pyACL, as a backend would be, with places where it can be made wrong."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ROW_BYTES = 3 * 8 * 8 * 4
OUT_BYTES = 10 * 4


@dataclass
class Pipeline:
    """Two staging sets, three streams joined by events. `wrong` names what is done wrong."""

    acl: Any
    om: str
    wrong: str = ""
    results: list[np.ndarray] = field(default_factory=list)

    def run(self, n_batches: int = 6) -> None:
        """Run batches through, keep the results, release everything."""
        rt, mdl = self.acl.rt, self.acl.mdl
        self.streams = [rt.create_stream()[0] for _ in range(3)]
        if self.wrong == "one stream twice":
            self.streams[1] = self.streams[0]
        self.model = mdl.load_from_file(self.om)[0]
        self.sets = [self._new_set() for _ in range(2)]
        for i in range(n_batches):
            staging = self.sets[i % 2]
            if i >= 2:
                self._collect(staging)
            self._submit(staging, i)
        for i in range(n_batches, n_batches + 2):
            self._collect(self.sets[i % 2])
        self._close()

    def _new_set(self) -> dict[str, int]:
        rt, acl = self.acl.rt, self.acl
        made = {
            "host_in": rt.malloc_host(ROW_BYTES)[0],
            "host_out": rt.malloc_host(OUT_BYTES)[0],
            "in": rt.malloc(ROW_BYTES, 0)[0],
            "out": rt.malloc(OUT_BYTES, 0)[0],
            "copied": rt.create_event()[0],
            "executed": rt.create_event()[0],
            "done": rt.create_event()[0],
        }
        for name, n_bytes in (("in", ROW_BYTES), ("out", OUT_BYTES)):
            made[f"{name} set"] = acl.mdl.create_dataset()
            acl.mdl.add_dataset_buffer(made[f"{name} set"], acl.create_data_buffer(made[name], n_bytes))
        return made

    def _fill(self, staging: dict[str, int], value: int) -> None:
        ctypes.memset(staging["host_in"], value, ROW_BYTES)

    def _submit(self, staging: dict[str, int], i: int) -> None:
        rt, (h2d, compute, d2h) = self.acl.rt, self.streams
        self._fill(staging, i + 1)
        source, target = staging["host_in"], staging["in"]
        if self.wrong == "pageable staging":
            self.pageable = np.zeros(ROW_BYTES, np.uint8)
            source = self.pageable.ctypes.data
        if self.wrong == "swapped source and target":
            source, target = target, source
        rt.memcpy_async(target, ROW_BYTES, source, ROW_BYTES, 1, h2d)
        if self.wrong == "fill again before the copy is done":
            self._fill(staging, 99)
        rt.record_event(staging["copied"], h2d)
        if self.wrong != "no wait for the copy in":
            rt.stream_wait_event(compute, staging["copied"])
        sets = (staging["in set"], staging["out set"])
        self.acl.mdl.execute_async(self.model, *(reversed(sets) if self.wrong == "swapped datasets" else sets), compute)
        if self.wrong == "one model on two streams":
            self.acl.mdl.execute_async(self.model, *sets, d2h)
        if self.wrong == "free before the execute is done":
            rt.free(staging["in"])
        rt.record_event(staging["executed"], compute)
        if self.wrong != "no wait for the execute":
            rt.stream_wait_event(d2h, staging["executed"])
        rt.memcpy_async(staging["host_out"], OUT_BYTES, staging["out"], OUT_BYTES, 2, d2h)
        rt.record_event(staging["done"], d2h)
        if self.wrong == "forgotten context":
            rt.set_context(self.other_context())

    def other_context(self) -> int:
        """Another context of the device, as a thread that serves several would have it."""
        mine = self.acl.rt.get_context()[0]
        other: int = self.acl.rt.create_context(0)[0]
        self.acl.rt.set_context(mine)
        return other

    def _collect(self, staging: dict[str, int]) -> None:
        if self.wrong != "no wait for the end":
            self.acl.rt.synchronize_event(staging["done"])
        self.results.append(np.frombuffer(ctypes.string_at(staging["host_out"], OUT_BYTES), np.float32))

    def _close(self) -> None:
        rt, mdl, acl = self.acl.rt, self.acl.mdl, self.acl
        for stream in dict.fromkeys(self.streams):
            rt.synchronize_stream(stream)
        if self.wrong == "context before its streams":
            rt.reset_device(0)
        if self.wrong != "model left loaded":
            mdl.unload(self.model)
        for staging in self.sets:
            for name in ("in set", "out set"):
                acl.destroy_data_buffer(mdl.get_dataset_buffer(staging[name], 0))
                mdl.destroy_dataset(staging[name])
            for name in ("in", "out"):
                rt.free(staging[name])
            for name in ("host_in", "host_out"):
                if self.wrong != "staging left allocated":
                    rt.free_host(staging[name])
            for name in ("copied", "executed", "done"):
                rt.destroy_event(staging[name])
        for stream in dict.fromkeys(self.streams):
            rt.destroy_stream(stream)
        if self.wrong == "used after free":
            rt.memcpy(self.sets[0]["in"], 8, self.sets[1]["in"], 8, 3)
        rt.reset_device(0)
        acl.finalize()
