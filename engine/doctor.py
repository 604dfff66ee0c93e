"""`engine doctor`: what this host has of all that a run needs, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import host
from engine.chip_probe import ask
from engine.config import DEFAULT_PROFILE
from engine.errors import EngineError, ModelError
from engine.layout import MIB
from engine.npu_smi import SmiChip, npu_smi

#: Where CANN's packages put their environment scripts, the complete toolkit first.
CANN_ROOTS = (Path("/usr/local/Ascend"), Path.home() / "Ascend")
CANN_SCRIPTS = ("ascend-toolkit/set_env.sh", "nnrt/set_env.sh", "nnae/set_env.sh")
#: A run with the default options needs about this much: processes, arena, kernels.
ENOUGH_MEMORY_MIB = 2048

PYACL_MODULES = {"cann": "acl", "sim": "engine.pyacl_stubs.acl"}

GOOD, NEUTRAL, BAD = "ok", "-", "!!"


@dataclass(frozen=True)
class Line:
    """One finding. mark : ok, - (absent, not needed) or !! (in the way); remedy : what to do, where something can be"""

    name: str
    mark: str
    text: str
    remedy: str = ""


@dataclass
class Section:
    """Findings that belong together."""

    title: str
    lines: list[Line] = field(default_factory=list)

    def add(self, name: str, mark: str, text: str, remedy: str = "") -> None:
        self.lines.append(Line(name, mark, text, remedy))


@dataclass
class Diagnosis:
    """All findings, and the backends that this host can run. usable : {backend: what on}"""

    sections: list[Section]
    usable: dict[str, str]

    @property
    def document(self) -> dict[str, Any]:
        sections = {
            section.title: {
                line.name: {"mark": line.mark, "text": line.text, "remedy": line.remedy} for line in section.lines
            }
            for section in self.sections
        }
        return {"sections": sections, "usable": self.usable, "is_fit": bool(self.usable)}


def diagnose(model: str | None, batch: int) -> Diagnosis:
    """Look at everything. `model` : as `engine run --model` takes it"""
    usable: dict[str, str] = {}
    pyacl = _acl_answer()
    sections = [
        _cann(pyacl),
        _driver(),
        _chips(pyacl, usable),
        _simulator(usable),
        _host(),
        _software(usable),
    ]
    if model is not None:
        sections.append(_model(model, batch, usable))
    return Diagnosis(sections, usable)


def _acl_answer() -> dict[str, Any] | None:
    """What the vendor's pyACL says; None where it cannot be imported."""
    answer = ask("acl")
    return None if "No module named" in str(answer.get("error")) else answer


def _cann(pyacl: dict[str, Any] | None) -> Section:
    section = Section("CANN")
    scripts = [root / script for root in CANN_ROOTS for script in CANN_SCRIPTS if (root / script).is_file()]
    if pyacl is not None:
        version = ".".join(map(str, pyacl.get("version", ()))) or "unknown"
        section.add("pyACL", GOOD, f"import acl works, API version {version}")
    elif scripts:
        section.add("pyACL", BAD, "CANN is installed but not sourced", f"source {scripts[0]}")
    else:
        remedy = "only for Ascend cards: install CANN, then source .../ascend-toolkit/set_env.sh"
        section.add("pyACL", NEUTRAL, f"no CANN in {' or '.join(map(str, CANN_ROOTS))}", remedy)
    for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH"):
        if os.environ.get(name):
            section.add(name, GOOD, os.environ[name])
    return section


def _driver() -> Section:
    section = Section("driver")
    try:
        answer = npu_smi()
    except EngineError as error:
        section.add("npu-smi", BAD, str(error), "check the driver: dmesg | grep -i davinci")
        return section
    if answer is None:
        section.add("npu-smi", NEUTRAL, "not found", "only for Ascend cards: it comes with the driver")
        return section
    version, chips = answer
    section.add("npu-smi", GOOD if chips else BAD, f"{version}, {len(chips)} chips")
    for chip in chips:
        _add_chip(section, chip)
    return section


def _add_chip(section: Section, chip: SmiChip) -> None:
    text = f"{chip.name}, card {chip.card} chip {chip.chip}, {chip.health}, {chip.used_mib} / {chip.total_mib} MiB"
    if chip.health != "OK":
        section.add(f"device {chip.device}", BAD, text, f"npu-smi info -t health -i {chip.card} -c {chip.chip}")
    elif chip.is_busy:
        users = ", ".join(chip.processes) or f"AICore {chip.aicore_percent} %"
        section.add(f"device {chip.device}", BAD, f"{text}, BUSY: {users}", "rates measured beside that are wrong")
    else:
        section.add(f"device {chip.device}", GOOD, f"{text}, idle")


def _chips(pyacl: dict[str, Any] | None, usable: dict[str, str]) -> Section:
    section = Section("chips")
    if pyacl is None:
        section.add("Ascend", NEUTRAL, "pyACL is not there to ask")
    elif "error" in pyacl:
        section.add("Ascend", BAD, str(pyacl["error"]), "see driver; is another process finalising?")
    else:
        section.add("Ascend", GOOD if pyacl["count"] else BAD, f"{pyacl['count']} x {pyacl['soc']}")
        for chip in pyacl["chips"]:
            if "error" in chip:
                section.add(f"device {chip['device']}", BAD, str(chip["error"]))
            else:
                section.add(f"device {chip['device']}", GOOD, f"{chip['free_mib']} of {chip['total_mib']} MiB free")
        opened = [str(chip["device"]) for chip in pyacl["chips"] if "error" not in chip]
        if opened:
            usable["cann"] = f"{pyacl['soc']}, devices {','.join(opened)}"
    return section


def _simulator(usable: dict[str, str]) -> Section:
    from engine.pyacl_stubs import profile_names
    from engine.pyacl_stubs.settings import ENVIRONMENT_PREFIX

    section = Section("simulator")
    answer = ask("engine.pyacl_stubs.acl")
    if "error" in answer:
        section.add("pyacl_stubs", BAD, str(answer["error"]))
    else:
        section.add("pyacl_stubs", GOOD, f"{answer['count']} simulated {answer['soc']}")
        usable["sim"] = f"simulated {answer['soc']}"
    section.add("profiles", GOOD, f"{len(profile_names())}, {DEFAULT_PROFILE} unless --profile says other")
    for name in sorted(name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)):
        section.add(name, NEUTRAL, os.environ[name], "holds for scripts on the simulator, not for engine run")
    return section


def _host() -> Section:
    section = Section("host")
    cores, in_all = host.n_cores(), os.cpu_count() or 1
    why = "" if cores == in_all else " (affinity or CPU quota)"
    section.add("cores", GOOD, f"{cores} of {in_all}{why}, {host.cpu_model()}")
    memory_mib = host.available_memory_bytes() // MIB
    is_enough = memory_mib >= ENOUGH_MEMORY_MIB
    remedy = "" if is_enough else "lower --slots, --batch and --workers, or raise the memory limit"
    section.add("memory", GOOD if is_enough else BAD, f"{memory_mib} MiB available (MemAvailable and cgroup)", remedy)
    section.add("system", GOOD, platform.platform())
    return section


def _software(usable: dict[str, str]) -> Section:
    section = Section("software")
    section.add("python", GOOD, f"{platform.python_version()}, {sys.executable}")
    libraries = host.environment()["libraries"]
    assert isinstance(libraries, dict)
    absent = [name for name, version in libraries.items() if version == "absent"]
    versions = ", ".join(f"{name} {version}" for name, version in libraries.items())
    section.add("libraries", BAD if absent else GOOD, versions, "pip install ." if absent else "")
    if "onnxruntime" not in absent:
        usable["onnxruntime"] = "this CPU"
    _add(section, "kernels", _kernels)
    _add_image_libraries(section)
    return section


def _add_image_libraries(section: Section) -> None:
    """What may decode the JPEGs that the kernels leave, before Pillow does."""
    from kernels.fallback import libraries

    for library in libraries():
        remedy = "" if library.decode else "optional: Pillow does its work, with the same pixels, a little slower"
        section.add(library.name, GOOD if library.decode else NEUTRAL, library.text, remedy)


def _add(section: Section, name: str, find: Callable[[], str]) -> None:
    """A finding, or the error of looking for it."""
    try:
        section.add(name, GOOD, find())
    except Exception as error:  # a doctor says what is wrong, whatever it is
        section.add(name, BAD, f"{type(error).__name__}: {error}", "see ENGINE_KERNEL_ISA and ENGINE_KERNEL_CACHE")


def _kernels() -> str:
    from kernels.cache import cache_folder
    from kernels.isa import INSTRUCTION_SET, available

    folder = Path(cache_folder(INSTRUCTION_SET))
    n_compiled = len(list(folder.rglob("*.nbc")))
    state = f"{n_compiled} compiled in {folder}" if n_compiled else f"compiled at the first run, into {folder}"
    return f"{INSTRUCTION_SET} of {', '.join(available())}; {state}"


def _model(model: str, batch: int, usable: dict[str, str]) -> Section:
    """Which backends can run this model, which chips load it; the others are usable no more."""
    from engine.models import Target, resolve_model, simulated_soc
    from engine.presets import find_preset

    spec = find_preset("resnet")
    section = Section(f"model {model}")
    for backend in list(usable):
        soc = simulated_soc(DEFAULT_PROFILE) if backend == "sim" else ""
        try:
            found = resolve_model(model, backend, Target(batch, spec.crop, soc, spec))
            if backend in PYACL_MODULES:
                _try_to_load(PYACL_MODULES[backend], found.path)
        except EngineError as error:
            section.add(backend, BAD, str(error))
            del usable[backend]
        else:
            section.add(backend, GOOD, f"{found.name}, sha256 {found.sha256[:16]}")
    if not usable:
        section.add("nothing", BAD, "no backend of this host can run the model")
    return section


def _try_to_load(module: str, path: str) -> None:
    """ModelError with what the first chip says of the file."""
    answer = ask(module, path)
    said = answer.get("error") or answer["model"]
    if said:
        raise ModelError(f"{said}; is it compiled for {answer.get('soc', 'this chip')}?")
