"""What pyACL documents and the simulator does not have: an AttributeError that says so, where a program asks for it.

``hasattr`` and ``getattr`` with a default work as on a CANN that lacks the function.
"""

from __future__ import annotations

import types

from engine.suggest import did_you_mean

#: Modules that are there in name only: what they are for, and what a program can do instead.
MODULES = {
    "media": ("images and video on the chip, DVPP", "decode and resize on the host"),
    "himpi": ("images and video on the chip, DVPP", "decode and resize on the host"),
    "op": ("single operators", "put them into a model"),
    "blas": ("single operators, BLAS", "put them into a model"),
    "prof": ("the profiler", "time an execute between two events"),
    "fv": ("feature retrieval", "leave it out"),
    "tdt": ("queues between processes", "use those of Python"),
}
#: Documented functions of the modules that are simulated.
FUNCTIONS = {
    "acl": """
        app_log cann_get_attribute cann_get_attribute_list cann_get_device_capability get_tensor_desc_address
        get_tensor_desc_dim get_tensor_desc_dim_range get_tensor_desc_name set_tensor_const set_tensor_desc_name
        set_tensor_dynamic_input set_tensor_format set_tensor_origin_format set_tensor_origin_shape
        set_tensor_place_mem set_tensor_shape set_tensor_shape_range set_tensor_storage_format
        set_tensor_storage_shape transform_tensor_desc
        """,
    "rt": """
        allocator_create_desc allocator_destroy_desc allocator_register allocator_unregister cmo_async
        create_event_ex_with_flag create_group_info create_notify ctx_get_current_default_stream
        ctx_get_sys_param_opt ctx_set_sys_param_opt destroy_group_info destroy_notify device_can_access_peer
        device_disable_peer_access device_enable_peer_access device_get_bare_tgid device_task_abort
        event_get_timestamp free_physical get_all_group get_device_id_from_exception_info get_device_info
        get_device_sat_mode get_error_code_from_exception_info get_event_available_num get_event_id
        get_group_count get_group_info_detail get_overflow_status get_stream_attribute get_stream_available_num
        get_stream_id_from_exception_info get_stream_overflow_switch get_sys_param_opt
        get_task_id_from_exception_info get_thread_id_from_exception_info host_register host_unregister
        ipc_mem_close ipc_mem_get_export_key ipc_mem_import_by_key malloc_host_with_cfg malloc_physical
        malloc_with_cfg map_mem mem_export_to_shareable_handle mem_get_allocation_granularity
        mem_import_from_shareable_handle mem_set_pid_to_shareable_handle memcpy2d memcpy2d_async record_notify
        release_mem_address reserve_mem_address reset_device_force reset_overflow_status set_device_sat_mode
        set_device_without_tsd_vxx set_exception_info_callback set_group set_op_execute_time_out
        set_op_wait_timeout set_stream_attribute set_stream_failure_mode set_stream_overflow_switch
        set_sys_param_opt set_ts_device stream_abort unmap_mem wait_and_reset_notify
        """,
    "mdl": """
        bundle_get_model_id bundle_get_model_num bundle_load_from_file bundle_load_from_mem bundle_unload
        create_aipp create_and_get_op_desc create_exec_config_handle destroy_aipp destroy_exec_config_handle
        dump_reg_callback dump_unreg_callback execute_async_v2 execute_v2 finalize_dump get_aipp_data_size
        get_aipp_type get_desc_from_file get_desc_from_mem get_first_aipp_info get_input_dims_range get_op_attr
        get_tensor_real_name init_dump load_from_file_with_q load_from_mem_with_q query_size_from_mem
        set_aipp_by_input_index set_aipp_crop_params set_aipp_csc_params set_aipp_dtc_pixel_mean
        set_aipp_dtc_pixel_min set_aipp_input_format set_aipp_padding_params set_aipp_pixel_var_reci
        set_aipp_rbuv_swap_switch set_aipp_scf_params set_aipp_src_image_size set_dump set_exec_config_opt
        set_external_weight_address set_input_aipp
        """,
}


class MissingModule(types.ModuleType):
    """A module whose every function is missing."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        purpose, instead = MODULES[self.__name__.rpartition(".")[2]]
        raise AttributeError(f"{self.__name__}.{name} is not simulated ({purpose}): {instead}")


def module(name: str) -> MissingModule:
    """``acl.<name>`` without any function."""
    return MissingModule(f"acl.{name}", f"Not simulated: {MODULES[name][0]}.")


def attribute_error(group: str, name: str, known: list[str]) -> AttributeError:
    """For ``__getattr__`` of a module of the simulator. group : "acl", "rt", ...   known : what it has"""
    full = f"acl.{name}" if group == "acl" else f"acl.{group}.{name}"
    if name in FUNCTIONS.get(group, "").split():
        return AttributeError(f"{full} is a function of pyACL that is not simulated")
    if name in known:
        return AttributeError(f"{full} is taken away: the CANN that is simulated does not have it (setting: absent)")
    return AttributeError(f"pyACL has no {full}{did_you_mean(name, known, cutoff=0.7)}")
