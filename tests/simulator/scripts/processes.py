"""The usual multi-process program: a spawned process per device, each with its own init."""

import multiprocessing
import sys

import acl


def work(device, path, results):
    assert acl.init() == 0
    assert acl.rt.set_device(device) == 0
    context, ret = acl.rt.create_context(device)
    assert ret == 0
    model, ret = acl.mdl.load_from_file(path)
    assert ret == 0
    assert acl.mdl.unload(model) == 0
    assert acl.rt.destroy_context(context) == 0
    assert acl.rt.reset_device(device) == 0
    assert acl.finalize() == 0
    results.put(device)


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    processes = [spawn.Process(target=work, args=(i, sys.argv[1], queue)) for i in range(2)]
    for process in processes:
        process.start()
    done = {queue.get(timeout=50) for _ in processes}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert done == {0, 1}
    print("PASS")
