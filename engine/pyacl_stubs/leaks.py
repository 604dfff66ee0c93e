"""What a program has not released."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.pyacl_stubs.process import PROCESS, Context, Device


def live_resources() -> Iterator[str]:
    """Everything that is alive in the process, default contexts and streams aside."""
    for device in list(PROCESS.devices.values()):
        if device.users:
            yield f"device {device.id}: acl.rt.reset_device is missing"
    for model_id, model in list(PROCESS.models.items()):
        yield f"model {model_id}, loaded at {model.origin}"
    for handle, thing in list(PROCESS.handles.items()):
        if not (isinstance(thing, Context) and thing.is_default):
            yield f"{thing} ({handle:#x}), created at {thing.origin}"
    for chip in PROCESS.chips.values():
        yield from (f"{block}, allocated at {block.origin}" for block in chip.memory.table.blocks())
    yield from (f"{block}, allocated at {block.origin}" for block in PROCESS.host.table.blocks())


def resources_of(device: Device) -> Iterator[str]:
    """What must be released before its device is reset."""
    for model_id, model in list(PROCESS.models.items()):
        if model.context.device is device:
            yield f"model {model_id}, loaded at {model.origin}"
    for thing in list(PROCESS.handles.values()):
        if _device_of(thing) is device and not (isinstance(thing, Context) and thing.is_default):
            yield f"{thing}, created at {thing.origin}"
    yield from (f"{block}, allocated at {block.origin}" for block in device.chip.memory.table.blocks())


def _device_of(thing: Any) -> Device | None:
    """The device that an object belongs to, where it belongs to one."""
    if isinstance(thing, Context):
        return thing.device
    context = getattr(thing, "context", None)
    return context.device if isinstance(context, Context) else None
