"""Staging of one batch in flight: page-locked host buffers, device buffers, datasets and events."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.backends.acl_calls import Acl, Call
from engine.backends.acl_model import AclModel
from engine.backends.base import F32, Images
from kernels.stream import stream_copy

HUGE_FIRST = 0
HOST_TO_DEVICE = 1
#: Event flag ACL_EVENT_TIME_LINE: `event_elapsed_time` needs it.
TIME_LINE = 0x8
#: Begin and end of h2d, begin and end of execute, end of d2h: `done`.
N_MARKS = 5
#: Each byte of the scores before an execution: what that did not write comes back as this. As a float it is a NaN that
#: no arithmetic makes.
POISON = 0xFF


class Staging:
    """Everything that one batch needs until its scores are back. Raises DeviceError with nothing left behind.

    scores : (batch, n_classes) of the model's dtype over page-locked memory
    copied_in, executed : events that join h2d to execute and execute to d2h; marks : for the times
    until_done : waits for the batch        until_told : is complete then, and tells the errors of the other streams
    calls  : by number of images, what queues them        out : where the batch's scores go
    """

    def __init__(self, acl: Acl, model: AclModel) -> None:
        self._acl = acl
        self._owned: list[tuple[str, str, int]] = []  # group, call that releases, handle
        self.calls: dict[int, list[Call]] = {}
        self.out: F32 = np.empty((0, model.info.n_classes), np.float32)
        try:
            self._make(model)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give everything back, the last first."""
        while self._owned:
            group, call, handle = self._owned.pop()
            {"rt": self._acl.rt, "mdl": self._acl.mdl, "": self._acl.top}[group](call, handle)

    def poison(self) -> None:
        """Mark every score as not written."""
        self._score_bytes.fill(POISON)

    def has_no_scores(self, n: int) -> bool:
        """The execution has not written one of the first `n` rows."""
        rows = self._score_rows[:n]
        return POISON in rows[:, -1] and bool((rows == POISON).all(axis=1).any())

    def take(self, batch: Images) -> None:
        """Copy images into the page-locked memory."""
        source = batch.reshape(-1).view(np.uint8)
        stream_copy(source, self._image_bytes[: len(source)])

    def _make(self, model: AclModel) -> None:
        info, batch = model.info, model.info.batch
        image_bytes, score_bytes = batch * model.image_bytes, batch * model.row_bytes
        self.host_in, self.host_out = self._rt("malloc_host", image_bytes), self._rt("malloc_host", score_bytes)
        inputs = [(self._rt("malloc", n, HUGE_FIRST), n) for n in model.input_bytes]
        self.device_in = inputs[model.image_index][0]
        self.device_out = self._rt("malloc", model.output_bytes, HUGE_FIRST)
        self._image_bytes = _at(self.host_in, image_bytes, np.dtype(np.uint8))
        self._image_bytes[:] = 0  # rows that a short batch leaves unwritten hold no NaN bit patterns of others
        self._score_bytes = _at(self.host_out, score_bytes, np.dtype(np.uint8))
        self._score_rows = self._score_bytes.reshape(batch, -1)
        self.scores: Images = self._score_bytes.view(model.score_dtype).reshape(batch, info.n_classes)
        self._acl.rt("memcpy", self.device_in, image_bytes, self.host_in, image_bytes, HOST_TO_DEVICE)
        self.dataset_in = self._dataset(inputs)
        self.dataset_out = self._dataset([(self.device_out, model.output_bytes)])
        self.copied_in, self.executed = self._rt("create_event"), self._rt("create_event")
        self.marks = tuple(self._rt("create_event_with_flag", TIME_LINE) for _ in range(N_MARKS))
        self.until_done = [self._acl.call("rt.synchronize_event", self.marks[4])]
        self.until_told = [self._acl.call("rt.synchronize_event", self.marks[mark]) for mark in (1, 3)]

    def _rt(self, call: str, *args: int) -> int:
        """What a creator of acl.rt makes, remembered for `release`."""
        handle: int = self._acl.rt(call, *args)
        release = {"malloc_host": "free_host", "malloc": "free"}.get(call, "destroy_event")
        self._owned.append(("rt", release, handle))
        return handle

    def _dataset(self, buffers: list[tuple[int, int]]) -> int:
        acl = self._acl
        dataset = acl.made(acl.module.mdl.create_dataset(), "acl.mdl.create_dataset")
        self._owned.append(("mdl", "destroy_dataset", dataset))
        for address, n_bytes in buffers:
            buffer = acl.made(acl.module.create_data_buffer(address, n_bytes), "acl.create_data_buffer")
            self._owned.append(("", "destroy_data_buffer", buffer))
            acl.mdl("add_dataset_buffer", dataset, buffer)
        return dataset


def _at(address: int, n_bytes: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """A view of host memory that pyACL allocated."""
    memory: Any = (ctypes.c_uint8 * n_bytes).from_address(address)
    return np.frombuffer(memory, dtype)
