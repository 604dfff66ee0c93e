"""InferSession as ais_bench has it: tensor descriptions, static and dynamic batch, padding, a summary, many devices."""

import multiprocessing
import sys
import time
from collections import namedtuple

import acl
import numpy as np

TensorDesc = namedtuple("TensorDesc", "name datatype format shape size realsize")
NUMPY = {0: np.float32, 1: np.float16, 4: np.uint8, 9: np.int64}
DYNAMIC_NAME = "ascend_mbatch_shape_data"


class Summary:
    def __init__(self):
        self.exec_time_list, self.h2d_latency_list, self.d2h_latency_list = [], [], []


class InferSession:
    devices = set()  # noqa: RUF012

    def __init__(self, device_id, model_path, acl_json_path=None, loop=1):
        self.device_id, self.loop = device_id, loop
        if not InferSession.devices:
            ret = acl.init(acl_json_path) if acl_json_path else acl.init()
            if ret:
                raise RuntimeError(f"acl init {ret}")
        assert acl.rt.set_device(device_id) == 0
        InferSession.devices.add(device_id)
        self.context, ret = acl.rt.create_context(device_id)
        self.model_id, ret = acl.mdl.load_from_file(model_path)
        if ret:
            raise RuntimeError(f"load model {model_path} {ret}")
        self.desc = acl.mdl.create_desc()
        assert acl.mdl.get_desc(self.desc, self.model_id) == 0
        gears, ret = acl.mdl.get_dynamic_batch(self.desc)
        self.gears = gears["batch"] if ret == 0 and gears["batchCount"] else []
        self.sets = {"input": acl.mdl.create_dataset(), "output": acl.mdl.create_dataset()}
        self.memory = {"input": [], "output": []}
        for side, n in (("input", acl.mdl.get_num_inputs(self.desc)), ("output", acl.mdl.get_num_outputs(self.desc))):
            for i in range(n):
                size = getattr(acl.mdl, f"get_{side}_size_by_index")(self.desc, i)
                pointer, ret = acl.rt.malloc(size, 0)
                assert ret == 0
                acl.mdl.add_dataset_buffer(self.sets[side], acl.create_data_buffer(pointer, size))
                self.memory[side].append((pointer, size))
        self._summary = Summary()

    def _descs(self, side, n):
        found = []
        for i in range(n):
            dims, ret = getattr(acl.mdl, f"get_{side}_dims")(self.desc, i)
            assert ret == 0
            datatype = getattr(acl.mdl, f"get_{side}_data_type")(self.desc, i)
            layout = getattr(acl.mdl, f"get_{side}_format")(self.desc, i)
            size = getattr(acl.mdl, f"get_{side}_size_by_index")(self.desc, i)
            found.append(TensorDesc(dims["name"], datatype, layout, dims["dims"], size, size))
        return found

    def get_inputs(self):
        descs = self._descs("input", acl.mdl.get_num_inputs(self.desc))
        return [desc for desc in descs if desc.name != DYNAMIC_NAME]

    def get_outputs(self):
        return self._descs("output", acl.mdl.get_num_outputs(self.desc))

    def infer(self, feeds, mode="static"):
        assert acl.rt.set_context(self.context) == 0
        began = time.time()
        for feed, desc, (pointer, size) in zip(feeds, self.get_inputs(), self.memory["input"], strict=False):
            array = np.ascontiguousarray(feed, NUMPY[desc.datatype])
            if mode == "static" and array.nbytes != desc.realsize:
                raise RuntimeError(f"tensorsize: {desc.realsize} filesize: {array.nbytes} not match")
            data = array.tobytes()
            assert acl.rt.memcpy(pointer, size, acl.util.bytes_to_ptr(data), len(data), 1) == 0
        self._summary.h2d_latency_list.append((time.time() - began) * 1000)
        batch = len(feeds[0])
        if mode == "dymbatch":
            index, ret = acl.mdl.get_input_index_by_name(self.desc, DYNAMIC_NAME)
            assert ret == 0
            ret = acl.mdl.set_dynamic_batch_size(self.model_id, self.sets["input"], index, batch)
            if ret:
                raise RuntimeError(f"set dynamic batch {batch}: {ret}")
        for _ in range(self.loop):
            began = time.time()
            ret = acl.mdl.execute(self.model_id, self.sets["input"], self.sets["output"])
            assert ret == 0, ret
            self._summary.exec_time_list.append((time.time() - began) * 1000)
        outputs = []
        for i, (pointer, _) in enumerate(self.memory["output"]):
            dims, ret = acl.mdl.get_cur_output_dims(self.desc, i)
            out = np.zeros(dims["dims"], NUMPY[acl.mdl.get_output_data_type(self.desc, i)])
            assert acl.rt.memcpy(out.ctypes.data, out.nbytes, pointer, out.nbytes, 2) == 0
            outputs.append(out)
        return outputs

    def summary(self):
        return self._summary

    def free_resource(self):
        assert acl.rt.set_context(self.context) == 0
        assert acl.mdl.unload(self.model_id) == 0
        assert acl.mdl.destroy_desc(self.desc) == 0
        for side, dataset in self.sets.items():
            for i, (pointer, _) in enumerate(self.memory[side]):
                assert acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, i)) == 0
                assert acl.rt.free(pointer) == 0
            assert acl.mdl.destroy_dataset(dataset) == 0
        assert acl.rt.destroy_context(self.context) == 0

    @staticmethod
    def finalize():
        while InferSession.devices:
            assert acl.rt.reset_device(InferSession.devices.pop()) == 0
        assert acl.finalize() == 0


def on_device(arguments):
    device_id, path, feeds = arguments
    session = InferSession(device_id, path)
    results = [session.infer([feed])[0] for feed in feeds]
    session.free_resource()
    session.finalize()
    return device_id, results


def main():
    static, dynamic = sys.argv[1], sys.argv[2]
    images = np.random.default_rng(5).standard_normal((8, 3, 8, 8)).astype(np.float32)
    with multiprocessing.get_context("spawn").Pool(2) as pool:  # before this process touches ACL
        jobs = [(d, static, [images[2 * d : 2 * d + 2], images[4:6]]) for d in range(2)]
        by_device = dict(pool.map(on_device, jobs))
    assert (by_device[0][1] == by_device[1][1]).all()
    session = InferSession(0, static, loop=3)
    (desc,) = session.get_inputs()
    assert desc.shape == [2, 3, 8, 8]
    assert desc.realsize == images[:2].nbytes
    assert (session.infer([images[:2]])[0] == by_device[0][0]).all()
    message = ""
    try:
        session.infer([images[:1]])
    except RuntimeError as error:
        message = str(error)
    assert "not match" in message
    assert len(session.summary().exec_time_list) == 3
    flexible = InferSession(0, dynamic)
    assert flexible.gears == [1, 2, 4]
    one, two, four = (flexible.infer([images[:n]], mode="dymbatch")[0] for n in (1, 2, 4))
    assert one.shape[0] == 1
    assert (four[:2] == two).all()
    assert (two[:1] == one).all()
    assert (two == by_device[0][0]).all()
    flexible.free_resource()
    session.free_resource()
    InferSession.finalize()
    print("PASS")


if __name__ == "__main__":
    main()
