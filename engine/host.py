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
#: Of the memory that is available now, the arena may take this much: the processes need the rest.
ARENA_SHARE = 0.8


def n_cores() -> int:
    """Cores that this process may use: its affinity, cut by the cgroup's CPU quota; at least 1."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def available_memory_bytes() -> int:
    """Bytes that can be allocated now without swapping: MemAvailable, cut by the cgroup's limit and by `ulimit -v`."""
    available = 1 << 62
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    for group in _memory_cgroups():
        available = min(available, _left_in(group))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        available = min(available, soft - mapped_bytes())
    return available


def _memory_cgroups() -> list[Path]:
    """Folders of the groups whose memory limits hold here: this process's own, and all above it.

    In a container the path may be the host's, and only the root be there.
    """
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for line in OWN_CGROUPS.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            root = CGROUP / "memory" if "memory" in controllers.split(",") else CGROUP
            if root != CGROUP or number == "0":
                own = root / path.lstrip("/")
                found += [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return found or [CGROUP, CGROUP / "memory"]


def _left_in(group: Path) -> int:
    """Bytes that this group may still allocate; very many where it has no limit."""
    for limit, usage, cache in CGROUP_MEMORY:
        with contextlib.suppress(OSError, ValueError):
            left = int((group / limit).read_text()) - int((group / usage).read_text())
            for line in (group / "memory.stat").read_text().splitlines():
                name, _, value = line.partition(" ")
                left += int(value) if name == cache else 0
            return left
    return 1 << 62


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
