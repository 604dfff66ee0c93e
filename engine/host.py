"""What this host has: cores and memory that this process may use, and facts for the report."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path

from engine.errors import ResourceError
from engine.layout import MIB, ArenaLayout
from engine.limits import mapped_bytes

CGROUP = Path("/sys/fs/cgroup")
#: This process's groups: "4:memory:/a/b" of cgroup 1, "0::/a/b" of cgroup 2.
OWN_CGROUPS = Path("/proc/self/cgroup")
#: Files of the memory limit and of what is used of it, of cgroup 1 and 2, and the name of what of that is page cache
#: that the kernel drops when memory is wanted, in memory.stat.
CGROUP_MEMORY = (
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ("memory.max", "memory.current", "inactive_file"),
)
#: More than any limit.
NO_LIMIT = 1 << 62
#: Of the memory that is available now, the arena may take this much: the processes need the rest.
ARENA_SHARE = 0.8


def n_cores() -> int:
    """Cores that this process may use: its affinity, cut by the cgroup's CPU quota; at least 1."""
    return min([len(os.sched_getaffinity(0)), *(max(1, int(_quota_of(group))) for group in _cgroups("cpu"))])


def _quota_of(group: Path) -> float:
    """Cores' worth of time that this group may use; very many where it has no quota."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()  # cgroup 2: "max 100000" without a quota
        return int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else NO_LIMIT  # cgroup 1: -1 without one
    return NO_LIMIT


def available_memory_bytes() -> int:
    """Bytes that can be allocated now without swapping: MemAvailable, cut by the cgroup's limit and by `ulimit -v`."""
    available = NO_LIMIT
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    for group in _cgroups("memory"):
        available = min(available, _left_in(group))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        available = min(available, soft - mapped_bytes())
    return available


def _cgroups(controller: str) -> list[Path]:
    """Folders of the groups whose limits hold here: this process's own, and all above it.

    In a container the path may be the host's, and only the root be there.
    """
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for line in OWN_CGROUPS.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            root = CGROUP / controller if controller in controllers.split(",") else CGROUP
            if root != CGROUP or number == "0":
                own = root / path.lstrip("/")
                found += [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return found or [CGROUP, CGROUP / controller]


def _left_in(group: Path) -> int:
    """Bytes that this group may still allocate; very many where it has no limit."""
    for limit, usage, cache in CGROUP_MEMORY:
        with contextlib.suppress(OSError, ValueError):
            left = int((group / limit).read_text()) - int((group / usage).read_text())
            for line in (group / "memory.stat").read_text().splitlines():
                name, _, value = line.partition(" ")
                left += int(value) if name == cache else 0
            return left
    return NO_LIMIT


def check_memory(layout: ArenaLayout) -> None:
    """ResourceError with need, have and remedy unless the arena fits into the memory that is available."""
    have = int(available_memory_bytes() * ARENA_SHARE)
    if layout.n_bytes <= have:
        return
    fitting = max(have // layout.slot_bytes, 0)
    raise ResourceError(
        f"arena of {layout.n_slots} slots x {layout.slot_bytes / MIB:.1f} MiB needs {layout.n_bytes / MIB:.1f} MiB "
        f"but {have / MIB:.1f} MiB are available: lower --slots to {fitting} or lower --batch"
    )


def cpu_model() -> str:
    """The processor's name as the kernel gives it, or the architecture where it gives none (aarch64)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def environment() -> dict[str, object]:
    """Facts of this host and of the libraries, for run.json."""
    libraries = ("numpy", "numba", "Pillow", "opencv-python-headless", "onnx", "onnxruntime", "msgpack")
    return {
        "cpu": cpu_model(),
        "n_cores": n_cores(),
        "memory_available_mib": available_memory_bytes() // MIB,
        "os": platform.platform(),
        "python": platform.python_version(),
        "byteorder": sys.byteorder,
        "libraries": {name: _version(name) for name in libraries},
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"
