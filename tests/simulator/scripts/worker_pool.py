"""One process, all chips: a worker thread per device with its own context and model, fed by queues."""

import queue
import sys
import threading

import acl
import numpy as np


class Worker(threading.Thread):
    def __init__(self, device_id, model_path, tasks, results):
        super().__init__(name=f"npu{device_id}")
        self.device_id, self.model_path = device_id, model_path
        self.tasks, self.results = tasks, results
        self.failure = None

    def run(self):
        try:
            self.setup()
            while True:
                item = self.tasks.get()
                if item is None:
                    break
                index, image = item
                self.results.put((index, self.device_id, self.infer(image)))
            self.teardown()
        except Exception as error:
            self.failure = error
            self.results.put((None, self.device_id, error))

    def setup(self):
        assert acl.rt.set_device(self.device_id) == 0
        device, ret = acl.rt.get_device()
        assert (device, ret) == (self.device_id, 0)
        self.context, ret = acl.rt.create_context(self.device_id)
        assert ret == 0
        self.model_id, ret = acl.mdl.load_from_file(self.model_path)
        assert ret == 0, ret
        self.desc = acl.mdl.create_desc()
        assert acl.mdl.get_desc(self.desc, self.model_id) == 0
        self.in_size = acl.mdl.get_input_size_by_index(self.desc, 0)
        self.out_size = acl.mdl.get_output_size_by_index(self.desc, 0)
        self.dev_in, ret = acl.rt.malloc(self.in_size, 0)
        self.dev_out, ret = acl.rt.malloc(self.out_size, 0)
        self.host_in, ret = acl.rt.malloc_host(self.in_size)
        self.host_out, ret = acl.rt.malloc_host(self.out_size)
        assert ret == 0
        self.data_in = acl.create_data_buffer(self.dev_in, self.in_size)
        self.data_out = acl.create_data_buffer(self.dev_out, self.out_size)
        self.set_in, self.set_out = acl.mdl.create_dataset(), acl.mdl.create_dataset()
        acl.mdl.add_dataset_buffer(self.set_in, self.data_in)
        acl.mdl.add_dataset_buffer(self.set_out, self.data_out)
        dims = acl.mdl.get_input_dims(self.desc, 0)[0]["dims"]
        self.view_in = acl.util.ptr_to_numpy(self.host_in, tuple(dims), 11)
        out_dims = acl.mdl.get_output_dims(self.desc, 0)[0]["dims"]
        self.view_out = acl.util.ptr_to_numpy(self.host_out, tuple(out_dims), 11)

    def infer(self, image):
        self.view_in[...] = image
        assert acl.rt.memcpy(self.dev_in, self.in_size, self.host_in, self.in_size, 1) == 0
        assert acl.mdl.execute(self.model_id, self.set_in, self.set_out) == 0
        assert acl.rt.memcpy(self.host_out, self.out_size, self.dev_out, self.out_size, 2) == 0
        return self.view_out.copy()

    def teardown(self):
        self.view_in = self.view_out = None
        assert acl.mdl.unload(self.model_id) == 0
        assert acl.mdl.destroy_desc(self.desc) == 0
        assert acl.destroy_data_buffer(self.data_in) == acl.destroy_data_buffer(self.data_out) == 0
        assert acl.mdl.destroy_dataset(self.set_in) == acl.mdl.destroy_dataset(self.set_out) == 0
        assert acl.rt.free(self.dev_in) == acl.rt.free(self.dev_out) == 0
        assert acl.rt.free_host(self.host_in) == acl.rt.free_host(self.host_out) == 0
        assert acl.rt.destroy_context(self.context) == 0
        assert acl.rt.reset_device(self.device_id) == 0


def main():
    assert acl.init() == 0
    count, ret = acl.rt.get_device_count()
    assert ret == 0
    assert all(acl.rt.query_device_status(i) == (0, 0) for i in range(count))
    tasks, results = queue.Queue(), queue.Queue()
    workers = [Worker(i, sys.argv[1], tasks, results) for i in range(count)]
    for worker in workers:
        worker.start()
    images = np.random.default_rng(7).standard_normal((24, 2, 3, 8, 8)).astype(np.float32)
    for index, image in enumerate(images):
        tasks.put((index, image))
    for _ in workers:
        tasks.put(None)
    found = [results.get(timeout=30) for _ in images]
    for worker in workers:
        worker.join(30)
        assert worker.failure is None, worker.failure
    assert sorted(index for index, _, _ in found) == list(range(24))
    assert len({scores.tobytes() for _, _, scores in found}) == 24
    assert acl.finalize() == 0
    print("PASS")


if __name__ == "__main__":
    main()
