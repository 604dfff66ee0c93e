"""A classification sample on wrapper classes: a resource that releases what registered with it, a model, an image."""

import sys

import acl
import numpy as np

SUCCESS, FAILED = 0, 1
ACL_DEVICE, ACL_HOST = 0, 1
MALLOC_HUGE_FIRST = 0
HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 0, 1, 2, 3
NPY_FLOAT32, NPY_BYTE = 11, 1
ACL_DTYPE = {0: "float32", 1: "float16", 2: "int8", 3: "int32", 4: "uint8", 9: "int64"}


def check_ret(message, ret_int):
    if ret_int != SUCCESS:
        raise Exception(f"{message} failed ret_int={ret_int}")


class ResourceList:
    """All that must be released before the device is reset."""

    _instance = None

    def __new__(cls):
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance.resources = []
        return cls._instance

    def register(self, resource):
        self.resources.append({"resource": resource, "status": True})

    def unregister(self, resource):
        for item in self.resources:
            if resource is item["resource"]:
                item["status"] = False

    def destroy(self):
        for item in self.resources:
            if item["status"]:
                item["resource"].destroy()
                item["status"] = False


class Resource:
    def __init__(self, device_id=0):
        self.device_id = device_id
        self.context = self.stream = self.run_mode = None

    def init(self):
        check_ret("acl.init", acl.init())
        check_ret("acl.rt.set_device", acl.rt.set_device(self.device_id))
        self.context, ret = acl.rt.create_context(self.device_id)
        check_ret("acl.rt.create_context", ret)
        self.stream, ret = acl.rt.create_stream()
        check_ret("acl.rt.create_stream", ret)
        self.run_mode, ret = acl.rt.get_run_mode()
        check_ret("acl.rt.get_run_mode", ret)

    def close(self):
        ResourceList().destroy()
        if self.stream:
            check_ret("acl.rt.destroy_stream", acl.rt.destroy_stream(self.stream))
        if self.context:
            check_ret("acl.rt.destroy_context", acl.rt.destroy_context(self.context))
        check_ret("acl.rt.reset_device", acl.rt.reset_device(self.device_id))
        check_ret("acl.finalize", acl.finalize())


class Model:
    def __init__(self, path):
        self.is_destroyed = False
        self.run_mode, ret = acl.rt.get_run_mode()
        check_ret("acl.rt.get_run_mode", ret)
        self.model_id, ret = acl.mdl.load_from_file(path)
        check_ret("acl.mdl.load_from_file", ret)
        self.desc = acl.mdl.create_desc()
        check_ret("acl.mdl.get_desc", acl.mdl.get_desc(self.desc, self.model_id))
        self.output_size = acl.mdl.get_num_outputs(self.desc)
        self.outputs = acl.mdl.create_dataset()
        for i in range(self.output_size):
            size = acl.mdl.get_output_size_by_index(self.desc, i)
            buffer, ret = acl.rt.malloc(size, MALLOC_HUGE_FIRST)
            check_ret("acl.rt.malloc", ret)
            data = acl.create_data_buffer(buffer, size)
            _, ret = acl.mdl.add_dataset_buffer(self.outputs, data)
            if ret:
                check_ret("acl.destroy_data_buffer", acl.destroy_data_buffer(data))
        ResourceList().register(self)

    def execute(self, arrays):
        inputs, keep = acl.mdl.create_dataset(), []
        for i, array in enumerate(arrays):
            array = np.ascontiguousarray(array)
            data = array.tobytes()
            pointer = acl.util.bytes_to_ptr(data)
            size = acl.mdl.get_input_size_by_index(self.desc, i)
            assert size == array.nbytes, (size, array.nbytes)
            device, ret = acl.rt.malloc(size, MALLOC_HUGE_FIRST)
            check_ret("acl.rt.malloc", ret)
            policy = HOST_TO_DEVICE if self.run_mode == ACL_HOST else DEVICE_TO_DEVICE
            check_ret("acl.rt.memcpy", acl.rt.memcpy(device, size, pointer, size, policy))
            buffer = acl.create_data_buffer(device, size)
            keep.append((device, buffer))
            _, ret = acl.mdl.add_dataset_buffer(inputs, buffer)
            check_ret("acl.mdl.add_dataset_buffer", ret)
        check_ret("acl.mdl.execute", acl.mdl.execute(self.model_id, inputs, self.outputs))
        for device, buffer in keep:
            check_ret("acl.rt.free", acl.rt.free(device))
            check_ret("acl.destroy_data_buffer", acl.destroy_data_buffer(buffer))
        check_ret("acl.mdl.destroy_dataset", acl.mdl.destroy_dataset(inputs))
        return [self.fetch(i) for i in range(self.output_size)]

    def fetch(self, i):
        buffer = acl.mdl.get_dataset_buffer(self.outputs, i)
        address, size = acl.get_data_buffer_addr(buffer), acl.get_data_buffer_size_v2(buffer)
        dims, ret = acl.mdl.get_cur_output_dims(self.desc, i)
        check_ret("acl.mdl.get_cur_output_dims", ret)
        host = np.zeros(size, dtype=np.byte)
        pointer = acl.util.numpy_to_ptr(host)
        check_ret("acl.rt.memcpy", acl.rt.memcpy(pointer, size, address, size, DEVICE_TO_HOST))
        dtype = ACL_DTYPE[acl.mdl.get_output_data_type(self.desc, i)]
        return host.view(dtype).reshape(tuple(dims["dims"]))

    def destroy(self):
        if self.is_destroyed:
            return
        for i in range(acl.mdl.get_dataset_num_buffers(self.outputs)):
            buffer = acl.mdl.get_dataset_buffer(self.outputs, i)
            if not buffer:
                continue
            check_ret("acl.rt.free", acl.rt.free(acl.get_data_buffer_addr(buffer)))
            check_ret("acl.destroy_data_buffer", acl.destroy_data_buffer(buffer))
        check_ret("acl.mdl.destroy_dataset", acl.mdl.destroy_dataset(self.outputs))
        if self.model_id:
            check_ret("acl.mdl.unload", acl.mdl.unload(self.model_id))
        if self.desc:
            check_ret("acl.mdl.destroy_desc", acl.mdl.destroy_desc(self.desc))
        ResourceList().unregister(self)
        self.is_destroyed = True

    def __del__(self):
        self.destroy()


def main(path):
    resource = Resource()
    resource.init()
    model = Model(path)
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(4):
        images = rng.standard_normal((2, 3, 8, 8)).astype(np.float32)
        (scores,) = model.execute([images])
        (again,) = model.execute([images])
        assert scores.shape == (2, 1000)
        assert (scores == again).all()
        seen.append(tuple(scores.argmax(1)))
    assert len(set(seen)) > 1
    model.destroy()
    resource.close()
    print("PASS")


if __name__ == "__main__":
    main(sys.argv[1])
