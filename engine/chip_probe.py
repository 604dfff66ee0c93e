"""What pyACL itself says, asked in a process of its own, which may crash or hang:

    python -m engine.chip_probe acl|engine.pyacl_stubs.acl [MODEL.om]

prints one line of JSON: {"error"} or {"count", "soc", "version", "chips": [{"device", "free_mib", "total_mib"} or
{"device", "error"}], "model": the error of loading it on the first chip that opens, or null}. The simulator's profile
is that of its environment variables.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

from engine.backends.acl_calls import Acl
from engine.errors import DeviceError

SECONDS = 60.0
DDR = 0
MIB = 1 << 20


def ask(module: str, *model: str) -> dict[str, Any]:
    """The answer of a probe; its "error" says why there is none."""
    command = [sys.executable, "-m", "engine.chip_probe", module, *model]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {SECONDS:.0f} s: is the driver stuck?"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        said = done.stderr.strip().splitlines()
        return {"error": f"ended with {done.returncode}: {said[-1][:200] if said else 'no reason given'}"}
    return answer


def probe(module: Any, model: str | None) -> dict[str, Any]:
    """Initialise, ask every chip, load the model, finalise."""
    acl = Acl(module, -1)
    acl.top("init")
    count = acl.rt("get_device_count")
    answer = {"count": count, "soc": module.get_soc_name(), "version": list(module.get_version()[:3])}
    answer["chips"] = chips = [_chip(module, device) for device in range(count)]
    opened = [chip["device"] for chip in chips if "error" not in chip]
    answer["model"] = _load(module, opened[0], model) if model and opened else None
    acl.top("finalize")
    return answer


def _chip(module: Any, device: int) -> dict[str, Any]:
    acl = Acl(module, device)
    try:
        acl.rt("set_device", device)
        free, total, ret = module.rt.get_mem_info(DDR)
        acl.rt("reset_device", device)
    except DeviceError as error:
        return {"device": device, "error": str(error)}
    if ret:
        return {"device": device, "error": f"acl.rt.get_mem_info: {ret}"}
    return {"device": device, "free_mib": free // MIB, "total_mib": total // MIB}


def _load(module: Any, device: int, model: str) -> str | None:
    acl = Acl(module, device)
    acl.rt("set_device", device)
    try:
        acl.mdl("unload", acl.mdl("load_from_file", model))
    except DeviceError as error:
        return str(error)
    finally:
        acl.rt("reset_device", device)
    return None


def main(name: str, model: str | None = None) -> None:
    """Print the answer."""
    try:
        answer = probe(importlib.import_module(name), model)
    except (ImportError, AttributeError, DeviceError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
