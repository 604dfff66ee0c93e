"""An asynchronous network class: a dataset per image, one blocking callback for all, released by the callback."""

import sys

import acl
import numpy as np

ACL_MEM_MALLOC_NORMAL_ONLY = 2
ACL_MEMCPY_HOST_TO_DEVICE, ACL_MEMCPY_DEVICE_TO_HOST = 1, 2
NPY_FLOAT32 = 11


def check_ret(message, ret):
    if ret != 0:
        raise RuntimeError(f"{message} failed ret={ret}")


class Net:
    def __init__(self, device_id, model_path):
        self.device_id = device_id
        self.exit_flag = False
        self.pairs = []
        self.results = []
        self.errors = []
        check_ret("acl.init", acl.init())
        check_ret("acl.rt.set_device", acl.rt.set_device(self.device_id))
        self.context, ret = acl.rt.create_context(self.device_id)
        check_ret("acl.rt.create_context", ret)
        self.stream, ret = acl.rt.create_stream()
        check_ret("acl.rt.create_stream", ret)
        self.model_id, ret = acl.mdl.load_from_file(model_path)
        check_ret("acl.mdl.load_from_file", ret)
        self.model_desc = acl.mdl.create_desc()
        check_ret("acl.mdl.get_desc", acl.mdl.get_desc(self.model_desc, self.model_id))
        self.output_count = acl.mdl.get_num_outputs(self.model_desc)
        self.output_dims = [
            tuple(acl.mdl.get_output_dims(self.model_desc, i)[0]["dims"]) for i in range(self.output_count)
        ]

    def __del__(self):
        if self.model_id:
            check_ret("acl.mdl.unload", acl.mdl.unload(self.model_id))
        if self.model_desc:
            check_ret("acl.mdl.destroy_desc", acl.mdl.destroy_desc(self.model_desc))
        self.__destroy_pairs()
        if self.stream:
            check_ret("acl.rt.destroy_stream", acl.rt.destroy_stream(self.stream))
        if self.context:
            check_ret("acl.rt.destroy_context", acl.rt.destroy_context(self.context))
        check_ret("acl.rt.reset_device", acl.rt.reset_device(self.device_id))
        check_ret("acl.finalize", acl.finalize())

    def __dataset(self, sizes):
        dataset = acl.mdl.create_dataset()
        for size in sizes:
            buffer, ret = acl.rt.malloc(size, ACL_MEM_MALLOC_NORMAL_ONLY)
            check_ret("acl.rt.malloc", ret)
            data = acl.create_data_buffer(buffer, size)
            _, ret = acl.mdl.add_dataset_buffer(dataset, data)
            if ret:
                check_ret("acl.destroy_data_buffer", acl.destroy_data_buffer(data))
        return dataset

    def __load_input(self, image):
        dataset = self.__dataset([image.size * image.itemsize])
        device = acl.get_data_buffer_addr(acl.mdl.get_dataset_buffer(dataset, 0))
        pointer = acl.util.numpy_to_ptr(image)
        ret = acl.rt.memcpy(device, image.nbytes, pointer, image.nbytes, ACL_MEMCPY_HOST_TO_DEVICE)
        check_ret("acl.rt.memcpy", ret)
        return dataset

    def __destroy_pairs(self):
        while self.pairs:
            for dataset in self.pairs.pop():
                for i in range(acl.mdl.get_dataset_num_buffers(dataset)):
                    data = acl.mdl.get_dataset_buffer(dataset, i)
                    if data:
                        check_ret("acl.rt.free", acl.rt.free(acl.get_data_buffer_addr(data)))
                        check_ret("acl.destroy_data_buffer", acl.destroy_data_buffer(data))
                check_ret("acl.mdl.destroy_dataset", acl.mdl.destroy_dataset(dataset))

    def __process_callback(self, args_list):
        context, timeout = args_list
        acl.rt.set_context(context)
        while True:
            acl.rt.process_report(timeout)
            if self.exit_flag:
                break

    def __callback(self, pairs):
        try:
            for _, outputs in pairs:
                for i in range(acl.mdl.get_dataset_num_buffers(outputs)):
                    data = acl.mdl.get_dataset_buffer(outputs, i)
                    device, size = acl.get_data_buffer_addr(data), acl.get_data_buffer_size_v2(data)
                    host, ret = acl.rt.malloc_host(size)
                    check_ret("acl.rt.malloc_host", ret)
                    check_ret("memcpy", acl.rt.memcpy(host, size, device, size, ACL_MEMCPY_DEVICE_TO_HOST))
                    view = acl.util.ptr_to_numpy(host, (size // 4,), NPY_FLOAT32)
                    self.results.append(view.reshape(self.output_dims[i]).copy())
                    check_ret("acl.rt.free_host", acl.rt.free_host(host))
            self.__destroy_pairs()
        except Exception as error:  # pyACL swallows it
            self.errors.append(error)

    def run(self, images):
        sizes = [acl.mdl.get_output_size_by_index(self.model_desc, i) for i in range(self.output_count)]
        self.pairs = [[self.__load_input(image), self.__dataset(sizes)] for image in images]
        tid, ret = acl.util.start_thread(self.__process_callback, [self.context, 50])
        check_ret("acl.util.start_thread", ret)
        check_ret("acl.rt.subscribe_report", acl.rt.subscribe_report(tid, self.stream))
        for inputs, outputs in self.pairs:
            check_ret("execute_async", acl.mdl.execute_async(self.model_id, inputs, outputs, self.stream))
        check_ret("launch_callback", acl.rt.launch_callback(self.__callback, self.pairs, 1, self.stream))
        check_ret("acl.rt.synchronize_stream", acl.rt.synchronize_stream(self.stream))
        check_ret("acl.rt.unsubscribe_report", acl.rt.unsubscribe_report(tid, self.stream))
        self.exit_flag = True
        check_ret("acl.util.stop_thread", acl.util.stop_thread(tid))
        return self.results


def main():
    random = np.random.default_rng(3)
    images = [random.standard_normal((2, 3, 8, 8)).astype(np.float32) for _ in range(5)]
    net = Net(0, sys.argv[1])
    results = net.run(images + images)
    assert not net.errors, net.errors
    assert len(results) == 10
    assert results[0].shape == (2, 1000)
    assert all((a == b).all() for a, b in zip(results[:5], results[5:], strict=False))
    assert not (results[0] == results[1]).all()
    del net
    print("PASS")


if __name__ == "__main__":
    main()
