"""The usual synchronous classification program: one device, one context, blocking calls."""

import sys

import acl
import numpy as np

ACL_MEM_MALLOC_HUGE_FIRST = 0
ACL_MEMCPY_HOST_TO_DEVICE = 1
ACL_MEMCPY_DEVICE_TO_HOST = 2


def check_ret(message, ret):
    if ret != 0:
        raise RuntimeError(f"{message} failed ret={ret}")


class Net:
    def __init__(self, device_id, model_path):
        self.device_id = device_id
        check_ret("acl.init", acl.init())
        check_ret("acl.rt.set_device", acl.rt.set_device(device_id))
        self.context, ret = acl.rt.create_context(device_id)
        check_ret("acl.rt.create_context", ret)
        self.model_id, ret = acl.mdl.load_from_file(model_path)
        check_ret("acl.mdl.load_from_file", ret)
        self.model_desc = acl.mdl.create_desc()
        check_ret("acl.mdl.get_desc", acl.mdl.get_desc(self.model_desc, self.model_id))
        self.inputs = self.buffers(acl.mdl.get_num_inputs(self.model_desc), acl.mdl.get_input_size_by_index)
        self.outputs = self.buffers(acl.mdl.get_num_outputs(self.model_desc), acl.mdl.get_output_size_by_index)

    def buffers(self, number, size_of):
        made = []
        for i in range(number):
            size = size_of(self.model_desc, i)
            pointer, ret = acl.rt.malloc(size, ACL_MEM_MALLOC_HUGE_FIRST)
            check_ret("acl.rt.malloc", ret)
            made.append({"buffer": pointer, "size": size})
        return made

    def dataset(self, buffers):
        dataset = acl.mdl.create_dataset()
        for item in buffers:
            data = acl.create_data_buffer(item["buffer"], item["size"])
            _, ret = acl.mdl.add_dataset_buffer(dataset, data)
            check_ret("acl.mdl.add_dataset_buffer", ret)
        return dataset

    def run(self, image):
        data = image.tobytes()
        pointer = acl.util.bytes_to_ptr(data)
        item = self.inputs[0]
        ret = acl.rt.memcpy(item["buffer"], item["size"], pointer, item["size"], ACL_MEMCPY_HOST_TO_DEVICE)
        check_ret("acl.rt.memcpy", ret)
        sets = self.dataset(self.inputs), self.dataset(self.outputs)
        check_ret("acl.mdl.execute", acl.mdl.execute(self.model_id, *sets))
        result = self.fetch()
        for dataset in sets:
            for i in range(acl.mdl.get_dataset_num_buffers(dataset)):
                check_ret("destroy", acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, i)))
            check_ret("acl.mdl.destroy_dataset", acl.mdl.destroy_dataset(dataset))
        return result

    def fetch(self):
        size = self.outputs[0]["size"]
        host, ret = acl.rt.malloc_host(size)
        check_ret("acl.rt.malloc_host", ret)
        ret = acl.rt.memcpy(host, size, self.outputs[0]["buffer"], size, ACL_MEMCPY_DEVICE_TO_HOST)
        check_ret("acl.rt.memcpy", ret)
        data = acl.util.ptr_to_bytes(host, size)
        check_ret("acl.rt.free_host", acl.rt.free_host(host))
        dims, ret = acl.mdl.get_cur_output_dims(self.model_desc, 0)
        check_ret("acl.mdl.get_cur_output_dims", ret)
        return np.frombuffer(data, np.float32).reshape(dims["dims"])

    def release(self):
        check_ret("acl.mdl.unload", acl.mdl.unload(self.model_id))
        check_ret("acl.mdl.destroy_desc", acl.mdl.destroy_desc(self.model_desc))
        for item in self.inputs + self.outputs:
            check_ret("acl.rt.free", acl.rt.free(item["buffer"]))
        check_ret("acl.rt.destroy_context", acl.rt.destroy_context(self.context))
        check_ret("acl.rt.reset_device", acl.rt.reset_device(self.device_id))
        check_ret("acl.finalize", acl.finalize())


if __name__ == "__main__":
    net = Net(0, sys.argv[1])
    shape = acl.mdl.get_input_dims(net.model_desc, 0)[0]["dims"]
    first = net.run(np.ones(shape, np.float32))
    second = net.run(np.zeros(shape, np.float32))
    third = net.run(np.ones(shape, np.float32))
    assert (first == third).all()
    assert not (first == second).all()
    net.release()
    print("PASS")
