"""The usual multi-device program: a thread per device, each with its own context, model and buffers."""

import sys
import threading

import acl
import numpy as np

results = {}


def ok(result):
    value, ret = result if isinstance(result, tuple) else (None, result)
    if ret != 0:
        raise RuntimeError(f"ret={ret}: {acl.get_recent_err_msg()}")
    return value


def work(device, path):
    ok(acl.rt.set_device(device))
    context = ok(acl.rt.create_context(device))
    stream = ok(acl.rt.create_stream())
    model = ok(acl.mdl.load_from_file(path))
    desc = acl.mdl.create_desc()
    ok(acl.mdl.get_desc(desc, model))
    sizes = acl.mdl.get_input_size_by_index(desc, 0), acl.mdl.get_output_size_by_index(desc, 0)
    host = [ok(acl.rt.malloc_host(size)) for size in sizes]
    memory = [ok(acl.rt.malloc(size, 0)) for size in sizes]
    sets = []
    for pointer, size in zip(memory, sizes, strict=True):
        sets.append(acl.mdl.create_dataset())
        ok(acl.mdl.add_dataset_buffer(sets[-1], acl.create_data_buffer(pointer, size)))
    data = np.arange(sizes[0], dtype=np.uint8).tobytes()
    ok(acl.rt.memcpy(host[0], sizes[0], acl.util.bytes_to_ptr(data), sizes[0], 0))
    for _ in range(5):
        ok(acl.rt.memcpy_async(memory[0], sizes[0], host[0], sizes[0], 1, stream))
        ok(acl.mdl.execute_async(model, *sets, stream))
        ok(acl.rt.memcpy_async(host[1], sizes[1], memory[1], sizes[1], 2, stream))
        ok(acl.rt.synchronize_stream(stream))
    results[device] = acl.util.ptr_to_bytes(host[1], sizes[1])
    ok(acl.mdl.unload(model))
    ok(acl.mdl.destroy_desc(desc))
    for dataset in sets:
        ok(acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, 0)))
        ok(acl.mdl.destroy_dataset(dataset))
    for pointer in memory:
        ok(acl.rt.free(pointer))
    for pointer in host:
        ok(acl.rt.free_host(pointer))
    ok(acl.rt.destroy_stream(stream))
    ok(acl.rt.destroy_context(context))
    ok(acl.rt.reset_device(device))


if __name__ == "__main__":
    ok(acl.init())
    number = ok(acl.rt.get_device_count())
    threads = [threading.Thread(target=work, args=(i, sys.argv[1])) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ok(acl.finalize())
    assert len(results) == number
    assert len(set(results.values())) == 1
    print("PASS")
