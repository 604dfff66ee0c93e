"""Where a number was measured: facts of this host, its libraries and the code, and which of them must be alike."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine import host
from engine.index import DataIndex
from engine.names import parts_of

#: What the vendor's packages call their version files, below the folder that set_env.sh names or the usual ones.
CANN_FOLDERS = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")
CANN_DEFAULT = Path("/usr/local/Ascend/ascend-toolkit/latest")
CANN_FILES = ("version.cfg", "compiler/version.info", "runtime/version.info")
DRIVER_FILE = Path("/usr/local/Ascend/driver/version.info")
GOVERNOR_FILE = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
#: A repository that needs longer than this to say its revision is left out.
GIT_SECONDS = 5.0
#: Sizes of this many files, evenly spread, enter the hash of a data set: a stat on a network disk takes its time.
MOST_SIZES = 1000
MIB_PER_GIB = 1024

#: What must be alike for two rates to be compared, as paths into a log entry.
COMPARED = (
    "environment.cpu",
    "environment.n_cores",
    "environment.cpu_quota",
    "environment.governor",
    "environment.memory_gib",
    "environment.os",
    "environment.python",
    "environment.libraries",
    "environment.cann",
    "environment.driver",
    "chip",
    "profile",
    "simulated",
    "model.sha256",
    "dataset.sha256",
)


def environment() -> dict[str, Any]:
    """Facts of this host, the libraries and the code, for run.json and the perf log. Takes some 20 ms for git."""
    return {
        **host.environment(),
        "cpu_quota": _cpu_quota(),
        "governor": _read(GOVERNOR_FILE) or "unknown",
        "memory_gib": _memory_gib(),
        "load_1m": round(os.getloadavg()[0], 2),
        "cann": _cann(),
        "driver": _read(DRIVER_FILE),
        "engine_git": git_state(Path(engine.__file__).parent),
        "cwd_git": git_state(Path.cwd()),
    }


def git_state(folder: Path) -> dict[str, Any]:
    """Revision and dirtiness of the work tree around `folder`; an empty revision where there is none."""
    revision = _git(folder, "rev-parse", "HEAD")
    if not revision:
        return {"revision": "", "is_dirty": False}
    return {"revision": revision, "is_dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def data_sha256(index: DataIndex) -> str:
    """Hash over names, labels and the sizes of some files (none where the data are not plain files)."""
    digest = hashlib.sha256()
    for array, dtype in ((index.names.ends, "<i8"), (index.names.blob, "u1"), (index.labels, "<i8")):
        for part in parts_of(array):
            digest.update(np.ascontiguousarray(part, dtype).data)
    for sample in np.linspace(0, len(index) - 1, min(len(index), MOST_SIZES)).astype(int):
        with contextlib.suppress(OSError):
            digest.update(np.int64(os.stat(index.names.path(int(sample))).st_size).tobytes())
    return digest.hexdigest()


def lookup(entry: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = entry
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def differences(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{path: (base, new)} of all that must be alike and is not; libraries one by one."""
    found = {}
    for path in COMPARED:
        theirs, ours = lookup(base, path), lookup(new, path)
        if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
            for name in sorted({*theirs, *ours}):
                if theirs.get(name) != ours.get(name):
                    found[f"{path}.{name}"] = (theirs.get(name), ours.get(name))
        elif theirs != ours:
            found[path] = (theirs, ours)
    return found


def _read(path: Path) -> str:
    """The file on one line, empty where it cannot be read."""
    with contextlib.suppress(OSError):
        return " ".join(path.read_text("utf-8", "replace").split())[:200]
    return ""


def _cpu_quota() -> float | None:
    """Cores' worth of CPU time that the cgroup grants; None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (host.CGROUP / "cpu.max").read_text().split()
        if quota != "max":
            return int(quota) / int(period)
    return None


def _memory_gib() -> int:
    """Memory of the host in GiB, rounded: kernels of one machine differ in the last few MiB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return round(int(line.split()[1]) / 1024 / MIB_PER_GIB)
    return 0


def _cann() -> str:
    """Version of CANN as its own files say it, empty where there is none."""
    folders = [Path(os.environ[name]) for name in CANN_FOLDERS if os.environ.get(name)] + [CANN_DEFAULT]
    for folder in folders:
        for name in CANN_FILES:
            text = _read(folder / name)
            if text:
                return text
    return ""
