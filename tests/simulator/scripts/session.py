"""A session object as benchmark tools have it: load once, warm up, infer many times, time the execute, any dtype."""

import sys
import time

import acl
import numpy as np

DTYPES = {0: np.float32, 1: np.float16, 4: np.uint8}


class Session:
    def __init__(self, device, path):
        self.device = device
        assert acl.init() == 0
        assert acl.rt.set_device(device) == 0
        self.context, ret = acl.rt.create_context(device)
        assert ret == 0
        self.model, ret = acl.mdl.load_from_file(path)
        assert ret == 0, ret
        self.desc = acl.mdl.create_desc()
        assert acl.mdl.get_desc(self.desc, self.model) == 0
        self.inputs = [self.tensor("input", i) for i in range(acl.mdl.get_num_inputs(self.desc))]
        self.outputs = [self.tensor("output", i) for i in range(acl.mdl.get_num_outputs(self.desc))]
        self.execute_ms = []

    def tensor(self, side, i):
        size = getattr(acl.mdl, f"get_{side}_size_by_index")(self.desc, i)
        dims, ret = getattr(acl.mdl, f"get_{side}_dims")(self.desc, i)
        assert ret == 0
        dtype = DTYPES[getattr(acl.mdl, f"get_{side}_data_type")(self.desc, i)]
        name = getattr(acl.mdl, f"get_{side}_name_by_index")(self.desc, i)
        assert dims["name"] == name
        pointer, ret = acl.rt.malloc(size, 0)
        assert ret == 0
        return {"name": name, "size": size, "shape": dims["dims"], "dtype": dtype, "pointer": pointer}

    def infer(self, feeds):
        sets = []
        for tensor, feed in zip(self.inputs, feeds, strict=True):
            if feed.nbytes != tensor["size"]:
                raise RuntimeError(f"tensorsize: {tensor['size']} filesize: {feed.nbytes} not match")
            pointer = acl.util.numpy_to_ptr(feed)
            assert acl.rt.memcpy(tensor["pointer"], tensor["size"], pointer, feed.nbytes, 1) == 0
        for tensors in (self.inputs, self.outputs):
            dataset = acl.mdl.create_dataset()
            for tensor in tensors:
                buffer = acl.create_data_buffer(tensor["pointer"], tensor["size"])
                _, ret = acl.mdl.add_dataset_buffer(dataset, buffer)
                assert ret == 0
            sets.append(dataset)
        begin = time.perf_counter()
        assert acl.mdl.execute(self.model, *sets) == 0
        self.execute_ms.append(1000 * (time.perf_counter() - begin))
        for dataset in sets:
            for i in range(acl.mdl.get_dataset_num_buffers(dataset)):
                assert acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, i)) == 0
            assert acl.mdl.destroy_dataset(dataset) == 0
        return [self.fetch(tensor) for tensor in self.outputs]

    def fetch(self, tensor):
        out = np.zeros(tensor["shape"], tensor["dtype"])
        pointer = acl.util.numpy_to_ptr(out)
        assert acl.rt.memcpy(pointer, out.nbytes, tensor["pointer"], tensor["size"], 2) == 0
        return out

    def free(self):
        assert acl.mdl.unload(self.model) == 0
        assert acl.mdl.destroy_desc(self.desc) == 0
        for tensor in self.inputs + self.outputs:
            assert acl.rt.free(tensor["pointer"]) == 0
        assert acl.rt.destroy_context(self.context) == 0
        assert acl.rt.reset_device(self.device) == 0
        assert acl.finalize() == 0


if __name__ == "__main__":
    session = Session(0, sys.argv[1])
    feeds = [np.ones(tensor["shape"], tensor["dtype"]) for tensor in session.inputs]
    results = [session.infer(feeds) for _ in range(6)]
    try:
        session.infer([feeds[0][:1]])
        raise SystemExit("a feed of a wrong size was taken")
    except RuntimeError as error:
        print(f"[ERROR] {error}")
    session.free()
    assert all((result[0] == results[0][0]).all() for result in results)
    mean = sum(session.execute_ms[1:]) / len(session.execute_ms[1:])
    print(f"[INFO] throughput 1000*batchsize({feeds[0].shape[0]})/NPU_compute_time.mean({mean})")
    print("PASS")
