"""``acl`` and ``acl.rt``: init, devices, contexts, facts (reference section 1)."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from engine.pyacl_stubs import leaks
from engine.pyacl_stubs.api_stream import drain
from engine.pyacl_stubs.chip import Chip
from engine.pyacl_stubs.codes import SUCCESS, AclError, Code, Outcome
from engine.pyacl_stubs.entry import entry, with_dict, with_zero
from engine.pyacl_stubs.process import PROCESS, Context, Device

#: ACL_HOST: the program runs beside a PCIe card.
RUN_MODE_HOST = 1
API_VERSION = (1, 0, 0)


@entry("acl.init", needs_init=False)
def init(config_path: str = "", /) -> int:
    """Once per process, before everything else. The configuration is read as JSON and otherwise ignored."""
    if config_path:
        _check_config(Path(config_path))
    PROCESS.start()
    return SUCCESS


def _check_config(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        if text.strip():
            json.loads(text)
    except OSError as error:
        raise AclError(Code.INVALID_FILE, f"cannot read the configuration {path}: {error.strerror}") from None
    except ValueError as error:
        raise AclError(Code.INVALID_FILE, f"the configuration {path} is not JSON: {error}") from None


@entry("acl.finalize", needs_init=False)
def finalize() -> int:
    """Last of all; strict mode reports what was not released."""
    if PROCESS.state == "finalized":
        raise AclError(Code.REPEAT_FINALIZE, "acl.finalize was called before")
    PROCESS.check_ready()
    for leak in leaks.live_resources():
        PROCESS.complain("acl.finalize", f"not released: {leak}")
    PROCESS.stop()
    return SUCCESS


@entry("acl.rt.set_device")
def set_device(device_id: int, /) -> int:
    """Open the device for this thread, with its default context."""
    device = _open(device_id)
    if device.default is None:
        handle = PROCESS.new_handle()
        device.default = PROCESS.register(handle, Context(device, handle, PROCESS.origin(), is_default=True))
    device.users.add(threading.get_ident())
    PROCESS.thread.context = device.default
    return SUCCESS


def _open(device_id: int) -> Device:
    """The opened device. Raises AclError 107001, or what the chip is lost with."""
    device = PROCESS.devices.get(device_id)
    if device is None:
        device = PROCESS.devices[device_id] = Device(device_id, _chip(device_id))
        device.chip.open()
    if device.chip.lost_code:
        raise Outcome(device.chip.lost_code, f"device {device_id} is lost")
    return device


def _chip(device_id: int) -> Chip:
    chip = PROCESS.chips.get(device_id)
    if chip is None:
        raise AclError(Code.RT_INVALID_DEVICEID, f"no device {device_id}: there are 0-{len(PROCESS.chips) - 1}")
    return chip


@entry("acl.rt.reset_device")
def reset_device(device_id: int, /) -> int:
    """Wait for the device's work; with the last user gone, end its contexts and streams."""
    _chip(device_id)
    device = PROCESS.devices.get(device_id)
    if device is None:
        raise AclError(Code.RT_INVALID_DEVICEID, f"device {device_id} is not set in this process")
    device.users.discard(threading.get_ident())
    if not device.users & {thread.ident for thread in threading.enumerate()}:
        _close_device(device)
    return SUCCESS


def _close_device(device: Device) -> None:
    contexts = [c for c in list(PROCESS.handles.values()) if isinstance(c, Context) and c.device is device]
    for leak in leaks.resources_of(device):
        PROCESS.complain("acl.rt.reset_device", f"released with the device, before its own release: {leak}")
    for context in contexts:
        _end_context(context, "acl.rt.reset_device")
    for model_id in [i for i, model in list(PROCESS.models.items()) if model.context.device is device]:
        del PROCESS.models[model_id]
    device.chip.memory.free_all()
    device.users.clear()
    del PROCESS.devices[device.id]


def _end_context(context: Context, call: str) -> None:
    for stream in context.streams:
        if not context.device.chip.lost_code:
            drain(stream)
        stream.is_live = False
        if stream.handle in PROCESS.handles:
            PROCESS.forget(stream.handle, call)
    context.is_live = False
    PROCESS.forget(context.handle, call)
    if PROCESS.thread.context is context:
        PROCESS.thread.context = None


@entry("acl.rt.get_device", with_zero)
def get_device() -> tuple[int, int]:
    """The device of the calling thread's context."""
    return PROCESS.context().device.id, SUCCESS


@entry("acl.rt.get_device_count", with_zero)
def get_device_count() -> tuple[int, int]:
    """Chips of the simulated cards."""
    return len(PROCESS.chips), SUCCESS


@entry("acl.rt.query_device_status", with_zero)
def query_device_status(device_id: int, /) -> tuple[int, int]:
    """0: the device is well; 1: it is lost."""
    return int(bool(_chip(device_id).lost_code)), SUCCESS


@entry("acl.rt.get_last_error", needs_init=False)
def get_last_error(level: int, /) -> int:
    """Code of the calling thread's last failure, which this forgets; 0 without one. level : 0, of the thread"""
    code = _last_error(level)
    PROCESS.thread.code = SUCCESS
    return code


@entry("acl.rt.peek_at_last_error", needs_init=False)
def peek_at_last_error(level: int, /) -> int:
    """The same without forgetting it."""
    return _last_error(level)


def _last_error(level: int) -> int:
    if level != 0:
        raise AclError(Code.INVALID_PARAM, f"level {level}: only 0, the calling thread's, is there")
    return PROCESS.thread.code


@entry("acl.rt.get_run_mode", with_zero)
def get_run_mode() -> tuple[int, int]:
    """1: the program runs on the host of a PCIe card."""
    return RUN_MODE_HOST, SUCCESS


@entry("acl.rt.create_context", with_zero)
def create_context(device_id: int, /) -> tuple[int, int]:
    """A context of a device, current in the calling thread from now on."""
    device = _open(device_id)
    handle = PROCESS.new_handle()
    PROCESS.thread.context = PROCESS.register(handle, Context(device, handle, PROCESS.origin(), is_default=False))
    return handle, SUCCESS


@entry("acl.rt.set_context")
def set_context(context: int, /) -> int:
    """Make a context the calling thread's."""
    PROCESS.thread.context = PROCESS.get(context, Context, Code.RT_INVALID_HANDLE)
    return SUCCESS


@entry("acl.rt.get_context", with_zero)
def get_context() -> tuple[int, int]:
    """The calling thread's context."""
    return PROCESS.context().handle, SUCCESS


@entry("acl.rt.destroy_context")
def destroy_context(context: int, /) -> int:
    """End a context that create_context made."""
    known = PROCESS.get(context, Context, Code.RT_INVALID_HANDLE)
    if known.is_default:
        raise AclError(Code.RT_PARAM_INVALID, f"{known} ends with reset_device only")
    for stream in known.streams:
        if stream.handle:
            PROCESS.complain("acl.rt.destroy_context", f"{stream}, created at {stream.origin}, is not destroyed yet")
    _end_context(known, "acl.rt.destroy_context")
    return SUCCESS


@entry("acl.get_soc_name", lambda code: None)
def get_soc_name() -> str | None:
    """Name of the chip, e.g. Ascend310."""
    return PROCESS.profile.soc


@entry("acl.get_version", lambda code: (0, 0, 0, code), needs_init=False)
def get_version() -> tuple[int, int, int, int]:
    """Version of the ACL interface, not of CANN."""
    return (*API_VERSION, SUCCESS)


@entry("acl.get_recent_err_msg", lambda code: None, needs_init=False)
def get_recent_err_msg() -> str | None:
    """Message of the calling thread's last failure; None without one."""
    message = PROCESS.thread.message
    if PROCESS.settings.err_msg_is_consumed:
        PROCESS.thread.message = None
    return message


@entry("acl.rt.get_device_utilization_rate", with_dict)
def get_device_utilization_rate(device_id: int, /) -> tuple[dict[str, int], int]:
    """Percentages of the device that are in use; the simulator knows that of memory only."""
    memory = _chip(device_id).memory
    used = round(100 * memory.used_bytes / memory.total_bytes)
    keys = ("cube_utilization", "vector_utilization", "aicpu_utilization")
    return {**dict.fromkeys(keys, 0), "memory_utilization": used, "utilization_extend": 0}, SUCCESS
