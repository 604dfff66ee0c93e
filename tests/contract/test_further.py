"""Documented functions beyond the reference's tables that public inference programs use.

Each test cites the page of the pyACL documentation by the function's name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.contract.conftest import DEVICE_TO_HOST, HOST_TO_DEVICE, Card
from tests.contract.test_models import images_of, loaded

LOAD_TYPE, PATH, MODEL, MODEL_SIZE, WEIGHT, WEIGHT_SIZE, WORK, WORK_SIZE = range(1, 9)
FROM_FILE, FROM_FILE_WITH_MEM, FROM_MEM = 1, 2, 3


def test_a_model_is_loaded_by_a_configuration(card: Card) -> None:
    """acl.mdl.create_config_handle, set_config_opt, load_with_config, destroy_config_handle: from a file."""
    acl = card.acl
    config = acl.mdl.create_config_handle()
    assert acl.mdl.set_config_opt(config, LOAD_TYPE, FROM_FILE) == 0
    assert acl.mdl.set_config_opt(config, PATH, card.om()) == 0
    model = card.ok(acl.mdl.load_with_config(config))
    assert acl.mdl.destroy_config_handle(config) == 0
    assert acl.mdl.unload(model) == 0


def test_a_configuration_brings_the_callers_memory(card: Card) -> None:
    """acl.mdl.set_config_opt: work and weight memory of load type 2."""
    acl, path = card.acl, card.om()
    work_bytes, weight_bytes, ret = acl.mdl.query_size(path)
    assert ret == 0
    work, weight = card.ok(acl.rt.malloc(work_bytes, 0)), card.ok(acl.rt.malloc(weight_bytes, 0))
    config = acl.mdl.create_config_handle()
    values = {LOAD_TYPE: FROM_FILE_WITH_MEM, PATH: path, WORK: work, WORK_SIZE: work_bytes, WEIGHT: weight}
    for attr, value in {**values, WEIGHT_SIZE: weight_bytes}.items():
        assert acl.mdl.set_config_opt(config, attr, value) == 0
    model = card.ok(acl.mdl.load_with_config(config))
    assert acl.mdl.unload(model) == 0
    assert acl.mdl.destroy_config_handle(config) == 0
    assert acl.rt.free(work) == acl.rt.free(weight) == 0


def test_a_configuration_loads_from_memory(card: Card) -> None:
    """acl.mdl.load_with_config: load type 3."""
    acl, data = card.acl, Path(card.om()).read_bytes()
    config = acl.mdl.create_config_handle()
    for attr, value in {LOAD_TYPE: FROM_MEM, MODEL: acl.util.bytes_to_ptr(data), MODEL_SIZE: len(data)}.items():
        assert acl.mdl.set_config_opt(config, attr, value) == 0
    assert acl.mdl.unload(card.ok(acl.mdl.load_with_config(config))) == 0
    assert acl.mdl.destroy_config_handle(config) == 0


def test_an_incomplete_configuration_is_refused(card: Card) -> None:
    """acl.mdl.load_with_config: nothing set, or the path missing, is an invalid parameter; a path must be a str."""
    acl = card.acl
    config = acl.mdl.create_config_handle()
    assert acl.mdl.load_with_config(config) == (0, 100000)
    assert acl.mdl.set_config_opt(config, LOAD_TYPE, FROM_FILE) == 0
    assert acl.mdl.load_with_config(config) == (0, 100000)
    if card.is_simulated:
        assert "load type 1 needs ACL_MDL_PATH_PTR" in acl.get_recent_err_msg()
    with pytest.raises(TypeError):
        acl.mdl.set_config_opt(config, PATH, 3)
    assert acl.mdl.destroy_config_handle(config) == 0
    assert acl.mdl.destroy_config_handle(config) == 100000


def test_a_tensor_description_tells_what_it_was_made_of(card: Card) -> None:
    """acl.create_tensor_desc and the get_tensor_desc family; destroy_tensor_desc returns nothing."""
    acl = card.acl
    desc = acl.create_tensor_desc(1, [2, 3, 8, 8], 0)
    assert acl.get_tensor_desc_type(desc) == 1
    assert acl.get_tensor_desc_format(desc) == 0
    assert acl.get_tensor_desc_num_dims(desc) == 4
    assert acl.get_tensor_desc_dim_v2(desc, 1) == (3, 0)
    assert acl.get_tensor_desc_dim_v2(desc, 4) == (0, 100000)
    assert acl.get_tensor_desc_element_count(desc) == 384
    assert acl.get_tensor_desc_size(desc) == 768
    assert acl.destroy_tensor_desc(desc) is None
    with pytest.raises(TypeError):
        acl.create_tensor_desc(1, 8, 0)


def test_a_dataset_may_say_the_shape_that_the_model_has(card: Card) -> None:
    """acl.mdl.set_dataset_tensor_desc: returns the dataset; another shape than the model's fails the execute."""
    acl = card.acl
    with loaded(card, card.om(batch=2)) as m:
        m.fill(images_of(2))
        assert acl.mdl.get_dataset_tensor_desc(m.inputs, 0) == 0
        right, wrong = acl.create_tensor_desc(0, [2, 3, 8, 8], 0), acl.create_tensor_desc(0, [1, 3, 8, 8], 0)
        assert acl.mdl.set_dataset_tensor_desc(m.inputs, right, 0) == (m.inputs, 0)
        assert acl.mdl.get_dataset_tensor_desc(m.inputs, 0) == right
        assert acl.mdl.execute(m.model, m.inputs, m.outputs) == 0
        assert acl.mdl.set_dataset_tensor_desc(m.inputs, wrong, 0) == (m.inputs, 0)
        assert acl.mdl.execute(m.model, m.inputs, m.outputs) == 145021
        assert acl.mdl.set_dataset_tensor_desc(m.inputs, right, 1)[1] == 100000
        acl.destroy_tensor_desc(right)
        acl.destroy_tensor_desc(wrong)


def test_halves_are_converted_bit_by_bit(card: Card) -> None:
    """acl.float_to_float16, float16_to_float: bare values."""
    assert card.acl.float_to_float16(1.5) == 0x3E00
    assert card.acl.float16_to_float(0x3E00) == 1.5
    assert np.isnan(card.acl.float16_to_float(0x7E00))


def test_a_stream_tells_whether_it_is_done(card: Card) -> None:
    """acl.rt.stream_query: 0 complete, 1 not ready."""
    acl, n = card.acl, 1 << 20
    stream = card.ok(acl.rt.create_stream())
    host, device = card.ok(acl.rt.malloc_host(n)), card.ok(acl.rt.malloc(n, 0))
    assert acl.rt.stream_query(stream) == (0, 0)
    assert acl.rt.memcpy_async(device, n, host, n, HOST_TO_DEVICE, stream) == 0
    assert acl.rt.stream_query(stream) == (1, 0)
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.stream_query(stream) == (0, 0)
    assert acl.rt.memcpy(host, n, device, n, DEVICE_TO_HOST) == 0
    assert acl.rt.destroy_stream(stream) == acl.rt.free(device) == acl.rt.free_host(host) == 0


def test_priorities_of_streams_are_the_smaller_the_higher(card: Card) -> None:
    """acl.rt.device_get_stream_priority_range: (least, greatest, ret); both ends make a stream."""
    least, greatest, ret = card.acl.rt.device_get_stream_priority_range()
    assert (least > greatest, ret) == (True, 0)
    for priority in (least, greatest):
        assert card.acl.rt.destroy_stream(card.ok(card.acl.rt.create_stream_with_config(priority, 0))) == 0


def test_a_device_tells_whether_it_is_well(card: Card) -> None:
    """acl.rt.query_device_status: 0 is normal; an unknown device is 107001."""
    assert card.acl.rt.query_device_status(0) == (0, 0)
    assert card.acl.rt.query_device_status(99) == (0, 107001)


def test_the_last_error_is_kept_until_it_is_taken(card: Card) -> None:
    """acl.rt.peek_at_last_error leaves it, get_last_error takes it; level 0 is the thread's."""
    rt = card.acl.rt
    rt.get_last_error(0)
    assert rt.free(1) == 100000
    assert rt.peek_at_last_error(0) == rt.get_last_error(0) == 100000
    assert rt.peek_at_last_error(0) == 0


def test_no_dynamic_dims_and_sizes_are_there(card: Card) -> None:
    """acl.mdl.get_input_dynamic_gear_count, get_input_dynamic_dims; setting them on a static model is 100019."""
    mdl = card.acl.mdl
    with loaded(card, card.om()) as m:
        assert mdl.get_input_dynamic_gear_count(m.desc, -1) == (0, 0)
        assert mdl.get_input_dynamic_dims(m.desc, -1, 0) == ([], 0)
        dims = {"name": "", "dimCount": 4, "dims": [2, 3, 8, 8]}
        assert mdl.set_input_dynamic_dims(m.model, m.inputs, 0, dims) == 100019
        assert mdl.set_dynamic_hw_size(m.model, m.inputs, 0, 8, 8) == 100019
