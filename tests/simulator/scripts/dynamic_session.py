"""An InferSession with static and dynamic batch modes and a summary, as benchmark tools have it."""

import sys
import time

import acl
import numpy as np

DYNAMIC_NAME = "ascend_mbatch_shape_data"
TYPES = {0: np.float32, 1: np.float16, 4: np.uint8, 9: np.int64}


class AclError(RuntimeError):
    def __init__(self, call, ret):
        text = acl.get_recent_err_msg() if hasattr(acl, "get_recent_err_msg") else None
        super().__init__(f"{call} ret:{ret} {text or ''}")
        self.ret = ret


def ok(call, ret):
    if ret:
        raise AclError(call, ret)


class Summary:
    def __init__(self):
        self.exec_time_list = []


class InferSession:
    def __init__(self, device_id, model_path, is_first=True):
        self.device_id = device_id
        if is_first:
            ok("init", acl.init())
        ok("set_device", acl.rt.set_device(device_id))
        self.context, ret = acl.rt.create_context(device_id)
        ok("create_context", ret)
        self.model_id, ret = acl.mdl.load_from_file(model_path)
        ok("load_from_file", ret)
        self.desc = acl.mdl.create_desc()
        ok("get_desc", acl.mdl.get_desc(self.desc, self.model_id))
        self.summary_info = Summary()
        gears, ret = acl.mdl.get_dynamic_batch(self.desc)
        ok("get_dynamic_batch", ret)
        self.gears = gears["batch"][: gears["batchCount"]]
        self.inputs = [self._tensor("input", i) for i in range(acl.mdl.get_num_inputs(self.desc))]
        self.outputs = [self._tensor("output", i) for i in range(acl.mdl.get_num_outputs(self.desc))]
        self.input_set, self.output_set = self._dataset(self.inputs), self._dataset(self.outputs)

    def _tensor(self, side, i):
        size = getattr(acl.mdl, f"get_{side}_size_by_index")(self.desc, i)
        dims, ret = getattr(acl.mdl, f"get_{side}_dims")(self.desc, i)
        ok("dims", ret)
        name = getattr(acl.mdl, f"get_{side}_name_by_index")(self.desc, i)
        dtype = TYPES[getattr(acl.mdl, f"get_{side}_data_type")(self.desc, i)]
        pointer, ret = acl.rt.malloc(size, 0)
        ok("malloc", ret)
        return {"name": name, "size": size, "shape": dims["dims"], "datatype": dtype, "pointer": pointer}

    def _dataset(self, tensors):
        dataset = acl.mdl.create_dataset()
        for tensor in tensors:
            _, ret = acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(tensor["pointer"], tensor["size"]))
            ok("add_dataset_buffer", ret)
        return dataset

    def get_inputs(self):
        return [tensor for tensor in self.inputs if tensor["name"] != DYNAMIC_NAME]

    def infer(self, feeds, mode="static"):
        ok("set_context", acl.rt.set_context(self.context))
        batch = len(feeds[0])
        for tensor, feed in zip(self.get_inputs(), feeds, strict=True):
            feed = np.ascontiguousarray(feed, dtype=tensor["datatype"])
            ok("memcpy", acl.rt.memcpy(tensor["pointer"], tensor["size"], feed.ctypes.data, feed.nbytes, 1))
        if mode == "dymbatch":
            index, ret = acl.mdl.get_input_index_by_name(self.desc, DYNAMIC_NAME)
            ok("get_input_index_by_name", ret)
            ret = acl.mdl.set_dynamic_batch_size(self.model_id, self.input_set, index, batch)
            ok("set_dynamic_batch_size", ret)
        began = time.time()
        ok("execute", acl.mdl.execute(self.model_id, self.input_set, self.output_set))
        self.summary_info.exec_time_list.append((time.time() - began) * 1000)
        return [self._fetch(i, tensor) for i, tensor in enumerate(self.outputs)]

    def _fetch(self, i, tensor):
        dims, ret = acl.mdl.get_cur_output_dims(self.desc, i)
        ok("get_cur_output_dims", ret)
        out = np.empty(dims["dims"], tensor["datatype"])
        ok("memcpy", acl.rt.memcpy(out.ctypes.data, out.nbytes, tensor["pointer"], out.nbytes, 2))
        return out

    def summary(self):
        return self.summary_info

    def free_resource(self):
        ok("set_context", acl.rt.set_context(self.context))
        ok("unload", acl.mdl.unload(self.model_id))
        ok("destroy_desc", acl.mdl.destroy_desc(self.desc))
        for dataset in (self.input_set, self.output_set):
            for i in range(acl.mdl.get_dataset_num_buffers(dataset)):
                ok("destroy_data_buffer", acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, i)))
            ok("destroy_dataset", acl.mdl.destroy_dataset(dataset))
        for tensor in (*self.inputs, *self.outputs):
            ok("free", acl.rt.free(tensor["pointer"]))
        ok("destroy_context", acl.rt.destroy_context(self.context))


def main(static_path, dynamic_path):
    static = InferSession(0, static_path)
    dynamic = InferSession(0, dynamic_path, is_first=False)
    assert dynamic.gears == [1, 2, 4], dynamic.gears
    assert dynamic.get_inputs()[0]["shape"][0] == -1
    images = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    halves = [static.infer([images[i : i + 2]])[0] for i in (0, 2)]
    for batch in (4, 2, 1):
        (scores,) = dynamic.infer([images[:batch]], mode="dymbatch")
        assert scores.shape == (batch, 1000)
        assert (scores == np.concatenate(halves)[:batch]).all()
    assert len(static.summary().exec_time_list) == 2
    assert min(static.summary().exec_time_list) > 1.0
    dynamic.free_resource()
    static.free_resource()
    ok("reset_device", acl.rt.reset_device(0))
    ok("finalize", acl.finalize())
    print("PASS")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
