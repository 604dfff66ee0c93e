"""The suite is complete: every function of the reference's tables is there, typed, and called by a test."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest

from engine.pyacl_stubs import acl

HERE = Path(__file__).parent
STUBS = Path(inspect.getfile(acl)).parent

#: Sections 1 to 4 of the reference and acl.util, by their module.
FUNCTIONS = {
    "": """init finalize get_soc_name get_version get_recent_err_msg create_data_buffer destroy_data_buffer
        get_data_buffer_addr get_data_buffer_size get_data_buffer_size_v2 update_data_buffer data_type_size""",
    "rt": """set_device reset_device get_device get_device_count get_run_mode create_context set_context get_context
        destroy_context create_stream create_stream_with_config destroy_stream synchronize_stream
        synchronize_stream_with_timeout synchronize_device create_event create_event_with_flag record_event reset_event
        query_event query_event_status query_event_wait_status synchronize_event synchronize_event_with_timeout
        stream_wait_event event_elapsed_time destroy_event get_device_utilization_rate malloc malloc_align32
        malloc_cached mem_flush mem_invalidate free malloc_host free_host memcpy memcpy_async memset memset_async
        get_mem_info subscribe_report process_report launch_callback unsubscribe_report""",
    "mdl": """load_from_file load_from_mem load_from_file_with_mem load_from_mem_with_mem query_size unload create_desc
        get_desc destroy_desc get_num_inputs get_num_outputs get_input_size_by_index get_output_size_by_index
        get_input_dims get_input_dims_v2 get_output_dims get_cur_output_dims get_input_data_type get_output_data_type
        get_input_format get_output_format get_input_name_by_index get_output_name_by_index get_input_index_by_name
        get_output_index_by_name get_dynamic_batch get_dynamic_hw set_dynamic_batch_size create_dataset destroy_dataset
        add_dataset_buffer get_dataset_num_buffers get_dataset_buffer execute execute_async""",
    "util": """numpy_to_ptr numpy_contiguous_to_ptr ptr_to_numpy bytes_to_ptr ptr_to_bytes start_thread stop_thread""",
}
#: Documented functions that the reference does not list and public inference programs use.
FURTHER = {
    "": """create_tensor_desc destroy_tensor_desc get_tensor_desc_type get_tensor_desc_format get_tensor_desc_num_dims
        get_tensor_desc_dim_v2 get_tensor_desc_element_count get_tensor_desc_size float_to_float16 float16_to_float""",
    "rt": """stream_query device_get_stream_priority_range query_device_status get_last_error peek_at_last_error""",
    "mdl": """create_config_handle destroy_config_handle set_config_opt load_with_config set_dataset_tensor_desc
        get_dataset_tensor_desc get_input_dynamic_gear_count get_input_dynamic_dims set_input_dynamic_dims
        set_dynamic_hw_size""",
    "util": "",
}
OFFERED = {module: set(FUNCTIONS[module].split()) | set(FURTHER[module].split()) for module in FUNCTIONS}
ALL = [(module, name) for module, names in OFFERED.items() for name in sorted(names)]


def function(module: str, name: str) -> Any:
    """One of the simulator's functions."""
    return getattr(getattr(acl, module) if module else acl, name)


@pytest.mark.parametrize(("module", "name"), ALL)
def test_a_function_is_there_under_its_own_name(module: str, name: str) -> None:
    """It knows the name under which programs call it."""
    assert function(module, name).acl_name == ".".join(filter(None, ["acl", module, name]))


def test_nothing_else_is_there() -> None:
    """The tables above are all that the simulator offers."""
    for module, names in OFFERED.items():
        offered = set((getattr(acl, module) if module else acl).__all__) - {"mdl", "rt", "util"}
        assert offered == names


def test_every_function_is_called_by_this_suite() -> None:
    """A test names each function as an attribute that it calls."""
    called = set()
    for path in HERE.glob("test_*.py"):
        called |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert [name for _, name in ALL if name not in called] == []


@pytest.mark.parametrize("module", FUNCTIONS)
def test_the_type_stubs_agree_with_the_code(module: str) -> None:
    """Same functions, same arguments, all positional."""
    tree = ast.parse((STUBS / f"{module or 'acl'}.pyi").read_text())
    stubs = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(stubs) == OFFERED[module]
    for name, stub in stubs.items():
        parameters = inspect.signature(function(module, name)).parameters
        assert [argument.arg for argument in stub.args.posonlyargs] == list(parameters)
        assert not stub.args.args


@pytest.mark.skipif(
    importlib.util.find_spec("acl") is None, reason="no vendor acl: install CANN, source its set_env.sh"
)
def test_the_suite_also_runs_on_a_card() -> None:
    """The fixtures of this folder then run every test twice, and the vendor's module has all that we have."""
    vendor = importlib.import_module("acl")
    assert [name for module, name in ALL if not hasattr(getattr(vendor, module) if module else vendor, name)] == []
