"""A model loaded from a file that libc maps; bytes in, bytes out; a configuration for the second one; facts."""

import ctypes
import json
import os
import sys
import tempfile

import acl
import numpy as np

HUGE_FIRST = 0
H2D, D2H = 1, 2
DTYPES = {0: np.float32, 1: np.float16, 9: np.int64}
LOAD_TYPE, PATH = 1, 2

libc = ctypes.CDLL("libc.so.6")
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
libc.mmap.restype = ctypes.c_void_p
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def check(call, ret):
    if ret != 0:
        message = acl.get_recent_err_msg() if hasattr(acl, "get_recent_err_msg") else ""
        raise RuntimeError(f"{call}: {ret} {message}")


def map_file(path):
    fd = os.open(path, os.O_RDONLY)
    size = os.lseek(fd, 0, os.SEEK_END)
    address = libc.mmap(None, size, 1, 2, fd, 0)
    os.close(fd)
    return address, size


class AclModel:
    def __init__(self, path, how):
        if how == "memory":
            address, size = map_file(path)
            self.model_id, ret = acl.mdl.load_from_mem(address, size)
            libc.munmap(address, size)
        else:
            config = acl.mdl.create_config_handle()
            check("set_config_opt", acl.mdl.set_config_opt(config, LOAD_TYPE, 1))
            check("set_config_opt", acl.mdl.set_config_opt(config, PATH, path))
            self.model_id, ret = acl.mdl.load_with_config(config)
            check("destroy_config_handle", acl.mdl.destroy_config_handle(config))
        check("load", ret)
        self.desc = acl.mdl.create_desc()
        check("get_desc", acl.mdl.get_desc(self.desc, self.model_id))
        self.inputs, self.input_set = self.allocate(acl.mdl.get_num_inputs, acl.mdl.get_input_size_by_index)
        self.outputs, self.output_set = self.allocate(acl.mdl.get_num_outputs, acl.mdl.get_output_size_by_index)
        for i in range(len(self.inputs)):
            dtype = acl.mdl.get_input_data_type(self.desc, i)
            dims, ret = acl.mdl.get_input_dims(self.desc, i)
            tensor = acl.create_tensor_desc(dtype, dims["dims"], acl.mdl.get_input_format(self.desc, i))
            dataset, ret = acl.mdl.set_dataset_tensor_desc(self.input_set, tensor, i)
            check("set_dataset_tensor_desc", ret)
            assert dataset == self.input_set
            acl.destroy_tensor_desc(tensor)

    def allocate(self, count, size_of):
        dataset, items = acl.mdl.create_dataset(), []
        for i in range(count(self.desc)):
            size = size_of(self.desc, i)
            pointer, ret = acl.rt.malloc(size, HUGE_FIRST)
            check("malloc", ret)
            _, ret = acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(pointer, size))
            check("add_dataset_buffer", ret)
            items.append((pointer, size))
        return items, dataset

    def __call__(self, *arrays):
        for (pointer, size), array in zip(self.inputs, arrays, strict=False):
            data = array.tobytes()
            assert len(data) <= size, f"{len(data)} > {size}"
            check("memcpy", acl.rt.memcpy(pointer, size, acl.util.bytes_to_ptr(data), len(data), H2D))
        check("execute", acl.mdl.execute(self.model_id, self.input_set, self.output_set))
        results = []
        for i, (pointer, size) in enumerate(self.outputs):
            host, ret = acl.rt.malloc_host(size)
            check("malloc_host", ret)
            check("memcpy", acl.rt.memcpy(host, size, pointer, size, D2H))
            dims, ret = acl.mdl.get_cur_output_dims(self.desc, i)
            dtype = DTYPES[acl.mdl.get_output_data_type(self.desc, i)]
            results.append(np.frombuffer(acl.util.ptr_to_bytes(host, size), dtype).reshape(dims["dims"]))
            check("free_host", acl.rt.free_host(host))
        return results

    def release(self):
        for items, dataset in ((self.inputs, self.input_set), (self.outputs, self.output_set)):
            for i, (pointer, _) in enumerate(items):
                check("destroy_data_buffer", acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, i)))
                check("free", acl.rt.free(pointer))
            check("destroy_dataset", acl.mdl.destroy_dataset(dataset))
        check("unload", acl.mdl.unload(self.model_id))
        check("destroy_desc", acl.mdl.destroy_desc(self.desc))


def main():
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump({"err_msg_mode": "1"}, config)
        config.flush()
        check("init", acl.init(config.name))
    major, minor, patch, ret = acl.get_version()
    print("ACL", major, minor, patch, "on", acl.get_soc_name())
    assert ret == 0
    count, ret = acl.rt.get_device_count()
    assert ret == 0
    assert count >= 1
    check("set_device", acl.rt.set_device(count - 1))
    mode, ret = acl.rt.get_run_mode()
    assert (mode, ret) == (1, 0)
    free, total, ret = acl.rt.get_mem_info(0)
    assert ret == 0
    assert 0 < free <= total
    first, second = AclModel(sys.argv[1], "memory"), AclModel(sys.argv[1], "config")
    images = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    assert (first(images)[0] == second(images)[0]).all()
    assert not (first(images)[0] == second(images[::-1])[0]).all()
    first.release()
    second.release()
    assert acl.rt.get_mem_info(0)[0] == free
    check("reset_device", acl.rt.reset_device(count - 1))
    check("finalize", acl.finalize())
    print("PASS")


if __name__ == "__main__":
    main()
