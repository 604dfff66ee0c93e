"""A thread per device, each with a callback thread and a pool of datasets; results come in the callbacks."""

import queue
import sys
import threading

import acl
import numpy as np

CALLBACK_BLOCK = 1
N_BATCHES, POOL = 8, 3


def check(ret, what):
    if ret != 0:
        raise RuntimeError(f"{what}: {ret}")


class Worker(threading.Thread):
    def __init__(self, device, path, batches):
        super().__init__()
        self.device, self.path, self.batches = device, path, batches
        self.results, self.error = {}, None

    def run(self):
        try:
            self.work()
        except Exception as error:
            self.error = error

    def report_loop(self, args):
        context, timeout_ms = args
        check(acl.rt.set_context(context), "set_context")
        while not self.is_over.is_set():
            acl.rt.process_report(timeout_ms)

    def work(self):
        check(acl.rt.set_device(self.device), "set_device")
        self.context, ret = acl.rt.create_context(self.device)
        check(ret, "create_context")
        stream, ret = acl.rt.create_stream()
        check(ret, "create_stream")
        self.model, ret = acl.mdl.load_from_file(self.path)
        check(ret, "load_from_file")
        desc = acl.mdl.create_desc()
        check(acl.mdl.get_desc(desc, self.model), "get_desc")
        sizes = acl.mdl.get_input_size_by_index(desc, 0), acl.mdl.get_output_size_by_index(desc, 0)
        self.pool = queue.Queue()
        items = [self.item(*sizes) for _ in range(POOL)]
        for item in items:
            self.pool.put(item)
        self.is_over = threading.Event()
        tid, ret = acl.util.start_thread(self.report_loop, [self.context, 20])
        check(ret, "start_thread")
        check(acl.rt.subscribe_report(tid, stream), "subscribe_report")
        for number, images in enumerate(self.batches):
            item = self.pool.get()
            pointer = acl.util.bytes_to_ptr(images)
            check(acl.rt.memcpy(item["in"][0], sizes[0], pointer, len(images), 1), "memcpy")
            check(acl.mdl.execute_async(self.model, item["in"][2], item["out"][2], stream), "execute_async")
            check(acl.rt.launch_callback(self.done, [number, item], CALLBACK_BLOCK, stream), "launch_callback")
        check(acl.rt.synchronize_stream(stream), "synchronize_stream")
        check(acl.rt.unsubscribe_report(tid, stream), "unsubscribe_report")
        self.is_over.set()
        check(acl.util.stop_thread(tid), "stop_thread")
        check(acl.mdl.unload(self.model), "unload")
        check(acl.mdl.destroy_desc(desc), "destroy_desc")
        for item in items:
            for pointer, buffer, dataset in (item["in"], item["out"]):
                check(acl.rt.free(pointer), "free")
                check(acl.destroy_data_buffer(buffer), "destroy_data_buffer")
                check(acl.mdl.destroy_dataset(dataset), "destroy_dataset")
        check(acl.rt.destroy_stream(stream), "destroy_stream")
        check(acl.rt.destroy_context(self.context), "destroy_context")
        check(acl.rt.reset_device(self.device), "reset_device")

    def item(self, in_size, out_size):
        made = {}
        for name, size in (("in", in_size), ("out", out_size)):
            pointer, ret = acl.rt.malloc(size, 2)
            check(ret, "malloc")
            buffer, dataset = acl.create_data_buffer(pointer, size), acl.mdl.create_dataset()
            _, ret = acl.mdl.add_dataset_buffer(dataset, buffer)
            check(ret, "add_dataset_buffer")
            made[name] = (pointer, buffer, dataset)
        return made

    def done(self, user_data):
        number, item = user_data
        size = acl.get_data_buffer_size_v2(item["out"][1])
        host, ret = acl.rt.malloc_host(size)
        check(ret, "malloc_host")
        check(acl.rt.memcpy(host, size, item["out"][0], size, 2), "memcpy")
        data = acl.util.ptr_to_bytes(host, size)
        check(acl.rt.free_host(host), "free_host")
        self.results[number] = np.frombuffer(data, np.float32).reshape(2, 1000)
        self.pool.put(item)


def main(path):
    check(acl.init(), "init")
    count, ret = acl.rt.get_device_count()
    check(ret, "get_device_count")
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((2, 3, 8, 8)).astype(np.float32).tobytes() for _ in range(N_BATCHES)]
    workers = [Worker(device, path, batches) for device in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for worker in workers:
        if worker.error:
            raise worker.error
        assert sorted(worker.results) == list(range(N_BATCHES))
        for number in range(N_BATCHES):
            assert (worker.results[number] == workers[0].results[number]).all()
    assert len({tuple(result.argmax(1)) for result in workers[0].results.values()}) > 1
    check(acl.finalize(), "finalize")
    print("PASS", count)


if __name__ == "__main__":
    main(sys.argv[1])
