"""``acl.mdl``: loading by a configuration object, descriptions of files (documentation: create_config_handle)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.pyacl_stubs.api_model import load, read_file, read_memory
from engine.pyacl_stubs.codes import SUCCESS, AclError, Code
from engine.pyacl_stubs.entry import bare_zero, entry, with_zero
from engine.pyacl_stubs.process import PROCESS

#: aclmdlConfigAttr: what set_config_opt sets.
PRIORITY, LOAD_TYPE, PATH, MODEL, MODEL_SIZE, WEIGHT, WEIGHT_SIZE, WORK, WORK_SIZE = range(9)
#: Values of LOAD_TYPE, and the attributes that each needs.
NEEDED = {
    1: (PATH,),
    2: (PATH, WEIGHT, WEIGHT_SIZE, WORK, WORK_SIZE),
    3: (MODEL, MODEL_SIZE),
    4: (MODEL, MODEL_SIZE, WEIGHT, WEIGHT_SIZE, WORK, WORK_SIZE),
}
NAMES = {
    LOAD_TYPE: "ACL_MDL_LOAD_TYPE_SIZET", PATH: "ACL_MDL_PATH_PTR", MODEL: "ACL_MDL_MEM_ADDR_PTR",
    MODEL_SIZE: "ACL_MDL_MEM_SIZET", WEIGHT: "ACL_MDL_WEIGHT_ADDR_PTR", WEIGHT_SIZE: "ACL_MDL_WEIGHT_SIZET",
    WORK: "ACL_MDL_WORKSPACE_ADDR_PTR", WORK_SIZE: "ACL_MDL_WORKSPACE_SIZET",
}  # fmt: skip


@dataclass(eq=False)
class LoadConfig:
    """What a load is to be like: values by attribute."""

    handle: int
    origin: str
    values: dict[int, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"model configuration {self.handle:#x}"


def _config(handle: int) -> LoadConfig:
    return PROCESS.get(handle, LoadConfig, Code.INVALID_PARAM)


@entry("acl.mdl.create_config_handle", bare_zero)
def create_config_handle() -> int:
    """An empty configuration."""
    handle = PROCESS.new_handle()
    PROCESS.register(handle, LoadConfig(handle, PROCESS.origin()))
    return handle


@entry("acl.mdl.destroy_config_handle")
def destroy_config_handle(handle: int, /) -> int:
    """End a configuration; models that it loaded stay."""
    _config(handle)
    PROCESS.forget(handle, "acl.mdl.destroy_config_handle")
    return SUCCESS


@entry("acl.mdl.set_config_opt")
def set_config_opt(handle: int, attr: int, value: Any, /) -> int:
    """Set one attribute; the path is a str, all else are int. Raises TypeError as the argument parser does."""
    known = _config(handle)
    if attr != PRIORITY and attr not in NAMES:
        raise AclError(Code.INVALID_PARAM, f"attribute {attr} is not simulated: known are 0-{max(NAMES)}")
    wanted = str if attr == PATH else int
    if not isinstance(value, wanted):
        raise TypeError(f"acl.mdl.set_config_opt() value must be {wanted.__name__}, not {type(value).__name__}")
    known.values[attr] = value
    return SUCCESS


@entry("acl.mdl.load_with_config", with_zero)
def load_with_config(handle: int, /) -> tuple[int, int]:
    """Load as the configuration says."""
    values = _config(handle).values
    load_type = values.get(LOAD_TYPE)
    if load_type not in NEEDED:
        raise AclError(
            Code.INVALID_PARAM, f"ACL_MDL_LOAD_TYPE_SIZET is {load_type}: 1-4 are simulated (queues, 5 and 6, are not)"
        )
    missing = [NAMES[attr] for attr in NEEDED[load_type] if attr not in values]
    if missing:
        raise AclError(Code.INVALID_PARAM, f"load type {load_type} needs {', '.join(missing)}")
    om = read_file(values[PATH]) if load_type in (1, 2) else read_memory(values[MODEL], values[MODEL_SIZE])
    if load_type in (1, 3):
        return load(om), SUCCESS
    return load(om, (values[WORK], values[WORK_SIZE]), (values[WEIGHT], values[WEIGHT_SIZE])), SUCCESS
