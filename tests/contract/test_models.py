"""Reference section 3: models, descriptions, datasets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.pyacl_stubs.om import OmVariant
from kernels.fingerprint import fingerprint_logits
from tests.contract.conftest import DEVICE_TO_HOST, HOST_TO_DEVICE, IMAGE, N_CLASSES, Card

DYNAMIC_INPUT = "ascend_mbatch_shape_data"


@dataclass(frozen=True)
class Loaded:
    """A loaded model with its description, and one set of device buffers."""

    card: Card
    model: int
    desc: int
    inputs: int
    outputs: int
    input_ptr: int
    output_ptr: int

    def fill(self, images: np.ndarray) -> None:
        """Copy images to the device, synchronously."""
        data = np.ascontiguousarray(images)
        ret = self.card.acl.rt.memcpy(self.input_ptr, data.nbytes, data.ctypes.data, data.nbytes, HOST_TO_DEVICE)
        assert ret == 0

    def result(self, batch: int, dtype: str = "float32") -> np.ndarray:
        """Copy the outputs back, synchronously."""
        out = np.zeros((batch, N_CLASSES), dtype)
        assert self.card.acl.rt.memcpy(out.ctypes.data, out.nbytes, self.output_ptr, out.nbytes, DEVICE_TO_HOST) == 0
        return out


@contextmanager
def loaded(card: Card, path: str) -> Iterator[Loaded]:
    """Load, describe, allocate; release all in the documented order."""
    acl = card.acl
    model = card.ok(acl.mdl.load_from_file(path))
    desc = acl.mdl.create_desc()
    assert acl.mdl.get_desc(desc, model) == 0
    blocks: list[int] = []

    def dataset(sizes: list[int]) -> int:
        made = acl.mdl.create_dataset()
        for size in sizes:
            blocks.append(card.ok(acl.rt.malloc(size, 0)))
            assert acl.mdl.add_dataset_buffer(made, acl.create_data_buffer(blocks[-1], size)) == (made, 0)
        return made

    n_inputs = acl.mdl.get_num_inputs(desc)
    inputs = dataset([acl.mdl.get_input_size_by_index(desc, i) for i in range(n_inputs)])
    outputs = dataset([acl.mdl.get_output_size_by_index(desc, 0)])
    yield Loaded(card, model, desc, inputs, outputs, blocks[0], blocks[n_inputs])
    assert acl.mdl.unload(model) == 0
    assert acl.mdl.destroy_desc(desc) == 0
    for made in (inputs, outputs):
        for i in range(acl.mdl.get_dataset_num_buffers(made)):
            assert acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(made, i)) == 0
        assert acl.mdl.destroy_dataset(made) == 0
    for block in blocks:
        assert acl.rt.free(block) == 0


def images_of(batch: int, dtype: str = "float32") -> np.ndarray:
    """Seeded random images."""
    return np.random.default_rng(batch).standard_normal((batch, *IMAGE)).astype(dtype)


def expected(images: np.ndarray) -> np.ndarray:
    """What the proof model gives."""
    out = np.empty((len(images), N_CLASSES), np.float32)
    fingerprint_logits(np.ascontiguousarray(images).reshape(len(images), -1).view(np.uint8), out)
    return out


def test_a_description_lists_the_tensors(card: Card) -> None:
    """Section 3: the bare values and the (dict, ret) pairs of a description."""
    with loaded(card, card.om(4)) as m:
        mdl, desc = card.acl.mdl, m.desc
        assert (mdl.get_num_inputs(desc), mdl.get_num_outputs(desc)) == (1, 1)
        assert mdl.get_input_size_by_index(desc, 0) == 4 * math.prod(IMAGE) * 4
        assert mdl.get_output_size_by_index(desc, 0) == 4 * N_CLASSES * 4
        name = mdl.get_input_name_by_index(desc, 0)
        dims = {"name": name, "dimCount": 4, "dims": [4, *IMAGE]}
        assert mdl.get_input_dims(desc, 0) == (dims, 0)
        assert mdl.get_input_dims_v2(desc, 0) == (dims, 0)
        out_name = mdl.get_output_name_by_index(desc, 0)
        out_dims = {"name": out_name, "dimCount": 2, "dims": [4, N_CLASSES]}
        assert mdl.get_output_dims(desc, 0) == (out_dims, 0)
        assert mdl.get_cur_output_dims(desc, 0) == (out_dims, 0)
        assert (mdl.get_input_data_type(desc, 0), mdl.get_output_data_type(desc, 0)) == (0, 0)
        assert mdl.get_input_format(desc, 0) == 0
        assert mdl.get_output_format(desc, 0) in (0, 2)
        assert mdl.get_input_index_by_name(desc, name) == (0, 0)
        assert mdl.get_output_index_by_name(desc, out_name) == (0, 0)
        assert mdl.get_input_index_by_name(desc, "nothing")[1] != 0
        assert mdl.get_input_dims(desc, 7)[0] == {}
        assert mdl.get_dynamic_batch(desc) == ({"batchCount": 0, "batch": []}, 0)
        assert mdl.get_dynamic_hw(desc, -1)[0]["hwCount"] == 0


def test_execute_computes(card: Card) -> None:
    """Section 3, execute: blocking, device buffers."""
    with loaded(card, card.om(2)) as m:
        images = images_of(2)
        m.fill(images)
        assert card.acl.mdl.execute(m.model, m.inputs, m.outputs) == 0
        assert (m.result(2) == expected(images)).all()


def test_execute_async_computes(card: Card) -> None:
    """Section 3, execute_async: done when the stream is."""
    with loaded(card, card.om(2)) as m:
        images = images_of(2)
        m.fill(images)
        assert card.acl.mdl.execute_async(m.model, m.inputs, m.outputs, 0) == 0
        assert card.acl.rt.synchronize_stream(0) == 0
        assert (m.result(2) == expected(images)).all()


def test_a_model_from_memory(card: Card) -> None:
    """Section 3: load_from_mem takes host memory."""
    data = Path(card.om(2)).read_bytes()
    model = card.ok(card.acl.mdl.load_from_mem(card.acl.util.bytes_to_ptr(data), len(data)))
    assert model >= 1
    assert card.acl.mdl.unload(model) == 0


def test_a_model_in_memory_of_the_caller(card: Card) -> None:
    """Section 3: query_size and the *_with_mem loads."""
    path = card.om(2)
    work_size, weight_size, ret = card.acl.mdl.query_size(path)
    assert ret == 0
    work, weight = card.ok(card.acl.rt.malloc(work_size, 0)), card.ok(card.acl.rt.malloc(weight_size, 0))
    memory = (work, work_size, weight, weight_size)
    data = Path(path).read_bytes()
    first = card.ok(card.acl.mdl.load_from_file_with_mem(path, *memory))
    second = card.ok(card.acl.mdl.load_from_mem_with_mem(card.acl.util.bytes_to_ptr(data), len(data), *memory))
    assert first != second
    for model in (first, second):
        assert card.acl.mdl.unload(model) == 0
    for block in (work, weight):
        assert card.acl.rt.free(block) == 0


def test_files_that_are_no_model(card: Card, tmp_path: Path) -> None:
    """Section 3 and 5: a missing, a foreign and a cut file fail with a code and id 0."""
    foreign, cut = tmp_path / "foreign.om", tmp_path / "cut.om"
    foreign.write_bytes(b"IMOD" + bytes(500))
    cut.write_bytes(Path(card.om(2)).read_bytes()[:-9])
    for path in (tmp_path / "missing.om", foreign, cut):
        model, ret = card.acl.mdl.load_from_file(str(path))
        assert model == 0
        assert ret != 0


def test_ids_and_contexts_of_models(card: Card) -> None:
    """Section 3: an unknown id is 100011, a model of another context 107004."""
    assert card.acl.mdl.unload(77) in (100011, 145003)
    with loaded(card, card.om(2)) as m:
        default = card.ok(card.acl.rt.get_context())
        other = card.ok(card.acl.rt.create_context(0))
        assert card.acl.mdl.execute(m.model, m.inputs, m.outputs) == 107004
        assert card.acl.rt.set_context(default) == 0
        assert card.acl.rt.destroy_context(other) == 0


def test_buffers_must_fit_the_model(card: Card) -> None:
    """Section 3: too small, too few."""
    with loaded(card, card.om(2)) as m:
        buffer = card.acl.mdl.get_dataset_buffer(m.inputs, 0)
        address, size = card.acl.get_data_buffer_addr(buffer), card.acl.get_data_buffer_size_v2(buffer)
        assert (address, size) == (m.input_ptr, card.acl.get_data_buffer_size(buffer))
        assert card.acl.update_data_buffer(buffer, address, size - 1) == 0
        assert card.acl.mdl.execute(m.model, m.inputs, m.outputs) in (100000, 145012)
        assert card.acl.update_data_buffer(buffer, address, size) == 0
        empty = card.acl.mdl.create_dataset()
        assert card.acl.mdl.execute(m.model, empty, m.outputs) != 0
        assert card.acl.mdl.get_dataset_buffer(m.inputs, 5) == 0
        assert card.acl.mdl.destroy_dataset(empty) == 0


def test_dynamic_batch(card: Card) -> None:
    """Section 3: the extra input, -1, gears, 145013, the largest gear's sizes, only the first rows valid."""
    path = card.om(8, OmVariant(gears=(1, 4, 8)))
    with loaded(card, path) as m:
        mdl = card.acl.mdl
        assert mdl.get_num_inputs(m.desc) == 2
        index = card.ok(mdl.get_input_index_by_name(m.desc, DYNAMIC_INPUT))
        assert mdl.get_dynamic_batch(m.desc) == ({"batchCount": 3, "batch": [1, 4, 8]}, 0)
        assert card.ok(mdl.get_input_dims(m.desc, 0))["dims"] == [-1, *IMAGE]
        assert card.ok(mdl.get_output_dims(m.desc, 0))["dims"] == [8, N_CLASSES]
        assert mdl.get_input_size_by_index(m.desc, 0) == 8 * math.prod(IMAGE) * 4
        assert mdl.execute(m.model, m.inputs, m.outputs) == 145013
        assert mdl.set_dynamic_batch_size(m.model, m.inputs, index, 3) == 145013
        images = images_of(4)
        m.fill(images)
        assert mdl.set_dynamic_batch_size(m.model, m.inputs, index, 4) == 0
        assert card.ok(mdl.get_cur_output_dims(m.desc, 0))["dims"] == [4, N_CLASSES]
        assert mdl.execute(m.model, m.inputs, m.outputs) == 0
        assert (m.result(4) == expected(images)).all()


def test_a_static_model_has_no_gears(card: Card) -> None:
    """Section 3: 100019."""
    with loaded(card, card.om(2)) as m:
        assert card.acl.mdl.set_dynamic_batch_size(m.model, m.inputs, 0, 2) == 100019


def test_half_precision(card: Card) -> None:
    """Section 3: float16 is type 1, half the bytes."""
    path = card.om(2, OmVariant(input_dtype="float16", output_dtype="float16"))
    with loaded(card, path) as m:
        mdl = card.acl.mdl
        assert (mdl.get_input_data_type(m.desc, 0), mdl.get_output_data_type(m.desc, 0)) == (1, 1)
        assert mdl.get_input_size_by_index(m.desc, 0) == 2 * math.prod(IMAGE) * 2
        images = images_of(2, "float16")
        m.fill(images)
        assert mdl.execute(m.model, m.inputs, m.outputs) == 0
        assert (m.result(2, "float16") == expected(images)).all()


def test_sizes_of_types(card: Card) -> None:
    """Section 3: ACL's type numbers, a bare value."""
    sizes = {0: 4, 1: 2, 2: 1, 3: 4, 4: 1, 6: 2, 9: 8, 11: 8}
    assert {code: card.acl.data_type_size(code) for code in sizes} == sizes


def test_creators_give_zero_and_wrong_handles_codes(card: Card) -> None:
    """Section 0.1: falsiness tells failure; a destroyed handle is refused."""
    dataset = card.acl.mdl.create_dataset()
    assert card.acl.mdl.destroy_dataset(dataset) == 0
    assert card.acl.mdl.destroy_dataset(dataset) == 100000
    assert card.acl.mdl.get_dataset_num_buffers(dataset) == 0
    with pytest.raises(TypeError):
        card.acl.mdl.add_dataset_buffer(None, None)
