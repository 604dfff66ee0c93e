"""A program that does everything wrong, and prints each return value: ``{what: value}`` as JSON."""

import json
import sys
import threading

import acl
import numpy as np

H2H, H2D, D2H = 0, 1, 2


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def main():
    path, found = sys.argv[1], {}
    found["malloc before init"] = acl.rt.malloc(64, 0)
    found["init twice"] = acl.init(), acl.init()
    found["malloc without a device"] = acl.rt.malloc(64, 0)
    found["load without a device"] = acl.mdl.load_from_file(path)
    found["a device that is not there"] = acl.rt.set_device(9)
    acl.rt.set_device(0)
    context, _ = acl.rt.create_context(0)
    stream, _ = acl.rt.create_stream()
    model, _ = acl.mdl.load_from_file(path)
    host = np.zeros(4096, np.uint8)
    address = host.ctypes.data
    block, _ = acl.rt.malloc(4096, 0)
    found["a model that is not there"] = acl.mdl.load_from_file("nothing.om")
    found["more than dst_max"] = acl.rt.memcpy(block, 10, address, 4096, H2D)
    found["the wrong direction"] = acl.rt.memcpy(block, 4096, address, 4096, D2H)
    found["host to host, async"] = acl.rt.memcpy_async(address, 64, address + 64, 64, H2H, stream)
    found["freed twice"] = acl.rt.free(block), acl.rt.free(block)
    found["a thread without context"] = in_thread(lambda: acl.rt.malloc(64, 0))
    found["an empty description"] = acl.mdl.get_num_inputs(acl.mdl.create_desc())
    found["an unknown model"] = acl.mdl.get_desc(acl.mdl.create_desc(), 77)
    empty = acl.mdl.create_dataset(), acl.mdl.create_dataset()
    found["empty datasets"] = acl.mdl.execute(model, *empty)
    found["a gear of a static model"] = acl.mdl.set_dynamic_batch_size(model, empty[0], 0, 2)
    other, _ = acl.rt.create_context(1)
    found["a stream of another context"] = acl.rt.synchronize_stream(stream)
    found["a model of another context"] = acl.mdl.unload(model)
    acl.rt.set_context(context)
    found["a report nobody subscribed"] = acl.rt.process_report(10)
    found["a callback nobody subscribed"] = acl.rt.launch_callback(print, [], 1, stream)
    found["a stream destroyed twice"] = acl.rt.destroy_stream(stream), acl.rt.destroy_stream(stream)
    found["a context that is none"] = acl.rt.set_context(12345)
    found["devices reset twice"] = acl.rt.reset_device(0), acl.rt.reset_device(1), acl.rt.reset_device(0)
    found["a context of a reset device"] = acl.rt.set_context(other)
    found["finalize twice"] = acl.finalize(), acl.finalize()
    found["after finalize"] = acl.rt.set_device(0)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
