"""The usual asynchronous program: a pool of datasets, one stream, a callback thread with blocking callbacks."""

import sys
import time

import acl
import numpy as np

N_POOL, N_RUNS, INTERVAL = 4, 12, 3


def check_ret(message, ret):
    if ret != 0:
        raise RuntimeError(f"{message} failed ret={ret}")


class Net:
    def __init__(self, path):
        check_ret("init", acl.init())
        check_ret("set_device", acl.rt.set_device(0))
        self.context, ret = acl.rt.create_context(0)
        check_ret("create_context", ret)
        self.stream, ret = acl.rt.create_stream()
        check_ret("create_stream", ret)
        self.model, ret = acl.mdl.load_from_file(path)
        check_ret("load", ret)
        self.desc = acl.mdl.create_desc()
        check_ret("get_desc", acl.mdl.get_desc(self.desc, self.model))
        self.is_exit = False
        self.results = []

    def dataset(self, size):
        pointer, ret = acl.rt.malloc(size, 2)
        check_ret("malloc", ret)
        dataset = acl.mdl.create_dataset()
        _, ret = acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(pointer, size))
        check_ret("add", ret)
        return dataset

    def pool(self):
        in_size = acl.mdl.get_input_size_by_index(self.desc, 0)
        out_size = acl.mdl.get_output_size_by_index(self.desc, 0)
        pairs = []
        for i in range(N_POOL):
            data = np.full(in_size, i, np.uint8).tobytes()
            pair = self.dataset(in_size), self.dataset(out_size)
            address = acl.get_data_buffer_addr(acl.mdl.get_dataset_buffer(pair[0], 0))
            ret = acl.rt.memcpy(address, in_size, acl.util.bytes_to_ptr(data), in_size, 1)
            check_ret("memcpy", ret)
            pairs.append(pair)
        return pairs

    def report_loop(self, args):
        context, timeout = args
        check_ret("set_context", acl.rt.set_context(context))
        while not self.is_exit:
            if acl.rt.process_report(timeout) != 0:
                time.sleep(0.0005)

    def on_results(self, pairs):
        for _, output in pairs:
            buffer = acl.mdl.get_dataset_buffer(output, 0)
            size = acl.get_data_buffer_size_v2(buffer)
            host, ret = acl.rt.malloc_host(size)
            check_ret("malloc_host", ret)
            check_ret("memcpy", acl.rt.memcpy(host, size, acl.get_data_buffer_addr(buffer), size, 2))
            self.results.append(acl.util.ptr_to_bytes(host, size))
            check_ret("free_host", acl.rt.free_host(host))

    def run(self):
        pairs = self.pool()
        thread, ret = acl.util.start_thread(self.report_loop, [self.context, 50])
        check_ret("start_thread", ret)
        check_ret("subscribe", acl.rt.subscribe_report(thread, self.stream))
        waiting = []
        for i in range(N_RUNS):
            pair = pairs[i % N_POOL]
            check_ret("execute_async", acl.mdl.execute_async(self.model, *pair, self.stream))
            waiting.append(pair)
            if len(waiting) == INTERVAL:
                check_ret("launch", acl.rt.launch_callback(self.on_results, waiting, 1, self.stream))
                waiting = []
        check_ret("synchronize", acl.rt.synchronize_stream(self.stream))
        check_ret("unsubscribe", acl.rt.unsubscribe_report(thread, self.stream))
        self.is_exit = True
        check_ret("stop_thread", acl.util.stop_thread(thread))
        self.release(pairs)

    def release(self, pairs):
        check_ret("unload", acl.mdl.unload(self.model))
        check_ret("destroy_desc", acl.mdl.destroy_desc(self.desc))
        for dataset in [dataset for pair in pairs for dataset in pair]:
            buffer = acl.mdl.get_dataset_buffer(dataset, 0)
            check_ret("free", acl.rt.free(acl.get_data_buffer_addr(buffer)))
            check_ret("destroy_data_buffer", acl.destroy_data_buffer(buffer))
            check_ret("destroy_dataset", acl.mdl.destroy_dataset(dataset))
        check_ret("destroy_stream", acl.rt.destroy_stream(self.stream))
        check_ret("destroy_context", acl.rt.destroy_context(self.context))
        check_ret("reset_device", acl.rt.reset_device(0))
        check_ret("finalize", acl.finalize())


if __name__ == "__main__":
    net = Net(sys.argv[1])
    net.run()
    assert len(net.results) == N_RUNS
    assert all(net.results[i] == net.results[i % N_POOL] for i in range(N_RUNS))
    assert len(set(net.results)) == N_POOL
    print("PASS")
