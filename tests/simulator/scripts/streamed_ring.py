"""Overlapped copies and executes: three streams, events, a ring of page-locked buffers, polling instead of waiting."""

import ctypes
import sys
import time

import acl
import numpy as np

DEPTH = 3


def ok(result):
    value, ret = result if isinstance(result, tuple) else (None, result)
    if ret != 0:
        raise RuntimeError(f"{ret}: {acl.get_recent_err_msg()}")
    return value


class Slot:
    def __init__(self, in_bytes, out_bytes):
        self.host_in, self.host_out = ok(acl.rt.malloc_host(in_bytes)), ok(acl.rt.malloc_host(out_bytes))
        self.dev_in, self.dev_out = ok(acl.rt.malloc(in_bytes, 0)), ok(acl.rt.malloc(out_bytes, 0))
        self.image = np.frombuffer((ctypes.c_uint8 * in_bytes).from_address(self.host_in), np.float32)
        self.scores = np.frombuffer((ctypes.c_uint8 * out_bytes).from_address(self.host_out), np.float32)
        self.copied, self.executed = ok(acl.rt.create_event()), ok(acl.rt.create_event())
        self.begin, self.end = (ok(acl.rt.create_event_with_flag(8)) for _ in range(2))
        self.number = None

    def release(self):
        self.image = self.scores = None
        for event in (self.copied, self.executed, self.begin, self.end):
            ok(acl.rt.destroy_event(event))
        for pointer in (self.dev_in, self.dev_out):
            ok(acl.rt.free(pointer))
        for pointer in (self.host_in, self.host_out):
            ok(acl.rt.free_host(pointer))


def main():
    ok(acl.init())
    ok(acl.rt.set_device(1))
    least, greatest, ret = acl.rt.device_get_stream_priority_range()
    assert ret == 0
    load, compute, store = (ok(acl.rt.create_stream_with_config(p, 0)) for p in (least, greatest, least))
    model = ok(acl.mdl.load_from_file(sys.argv[1]))
    desc = acl.mdl.create_desc()
    ok(acl.mdl.get_desc(desc, model))
    in_bytes, out_bytes = acl.mdl.get_input_size_by_index(desc, 0), acl.mdl.get_output_size_by_index(desc, 0)
    slots = [Slot(in_bytes, out_bytes) for _ in range(DEPTH)]
    inputs, outputs = acl.mdl.create_dataset(), acl.mdl.create_dataset()
    in_data = acl.create_data_buffer(slots[0].dev_in, in_bytes)
    out_data = acl.create_data_buffer(slots[0].dev_out, out_bytes)
    ok(acl.mdl.add_dataset_buffer(inputs, in_data))
    ok(acl.mdl.add_dataset_buffer(outputs, out_data))
    images = np.random.default_rng(9).standard_normal((12, in_bytes // 4)).astype(np.float32)
    results, execute_ms = {}, []

    def collect(slot):
        status, ret = acl.rt.query_event_status(slot.end)
        while ret == 0 and status == 0:
            time.sleep(0.0002)
            status, ret = acl.rt.query_event_status(slot.end)
        assert ret == 0
        results[slot.number] = slot.scores.copy()
        execute_ms.append(ok(acl.rt.event_elapsed_time(slot.begin, slot.end)))
        slot.number = None

    for number, image in enumerate(images):
        slot = slots[number % DEPTH]
        if slot.number is not None:
            collect(slot)
        slot.number = number
        slot.image[:] = image
        ok(acl.rt.record_event(slot.begin, load))
        ok(acl.rt.memcpy_async(slot.dev_in, in_bytes, slot.host_in, in_bytes, 1, load))
        ok(acl.rt.record_event(slot.copied, load))
        ok(acl.rt.stream_wait_event(compute, slot.copied))
        ok(acl.update_data_buffer(in_data, slot.dev_in, in_bytes))
        ok(acl.update_data_buffer(out_data, slot.dev_out, out_bytes))
        ok(acl.mdl.execute_async(model, inputs, outputs, compute))
        ok(acl.rt.record_event(slot.executed, compute))
        ok(acl.rt.stream_wait_event(store, slot.executed))
        ok(acl.rt.memcpy_async(slot.host_out, out_bytes, slot.dev_out, out_bytes, 2, store))
        ok(acl.rt.record_event(slot.end, store))
    for slot in slots:
        if slot.number is not None:
            collect(slot)
    ok(acl.rt.synchronize_device())
    assert [ok(acl.rt.stream_query(stream)) for stream in (load, compute, store)] == [0, 0, 0]
    assert sorted(results) == list(range(12))
    assert len({scores.tobytes() for scores in results.values()}) == 12
    assert all(ms > 0 for ms in execute_ms)
    ok(acl.mdl.unload(model))
    ok(acl.mdl.destroy_desc(desc))
    for data, dataset in ((in_data, inputs), (out_data, outputs)):
        ok(acl.destroy_data_buffer(data))
        ok(acl.mdl.destroy_dataset(dataset))
    for slot in slots:
        slot.release()
    for stream in (load, compute, store):
        ok(acl.rt.destroy_stream(stream))
    ok(acl.rt.reset_device(1))
    ok(acl.finalize())
    print("PASS")


if __name__ == "__main__":
    main()
