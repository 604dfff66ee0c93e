"""The vendor's `npu-smi info`: which chips the driver sees, and whether somebody uses them.

Two rows per chip: ``| NPU Name | Health | Power Temp [Hugepages] |``, ``| Chip Device | Bus | AICore Used / Total |``;
newer drivers add a table of processes. The forms of drivers 21.0.3, 22.0.4 and 23.0.0 are read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace

from engine.errors import DeviceError

SECONDS = 20.0
_VERSION = re.compile(r"npu-smi\s+(?:v|V)?([0-9][\w.]*)")
_FIRST_ROW = re.compile(r"\|\s*(\d+)\s+(\S+)\s*\|\s*(\S+)\s*\|\s*([\d.]+|NA|-)\s+([\d.]+|NA|-)\b")
_SECOND_ROW = re.compile(r"\|\s*(\d+)\s+(\d+)\s*\|\s*(\S+)\s*\|\s*(\d+)\s+(\d+)\s*/\s*(\d+)")
_PROCESS = re.compile(r"\|\s*(\d+)\s+(\d+)\s*\|\s*(\d+)\s*\|\s*(\S+)\s*\|\s*(\d+)\s*\|")


@dataclass(frozen=True)
class SmiChip:
    """One chip as the driver sees it. device : what pyACL calls it; processes : pid and name of its users"""

    card: int
    chip: int
    device: int
    name: str
    health: str
    power_w: float | None
    temperature_c: float | None
    aicore_percent: int
    used_mib: int
    total_mib: int
    processes: tuple[str, ...] = ()

    @property
    def is_busy(self) -> bool:
        return bool(self.processes) or self.aicore_percent > 0


def npu_smi() -> tuple[str, list[SmiChip]] | None:
    """(version, chips); None without npu-smi. Raises DeviceError where it fails or hangs: the driver is not well."""
    path = shutil.which("npu-smi") or shutil.which("npu-smi", path="/usr/local/sbin:/usr/local/bin:/usr/sbin")
    if path is None:
        return None
    try:
        done = subprocess.run([path, "info"], capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{path} info does not answer within {SECONDS:.0f} s: is the driver loaded?") from None
    except OSError as error:
        raise DeviceError(f"{path} cannot be run: {error.strerror}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:120]
        raise DeviceError(f"{path} info ended with {done.returncode}: {said or 'no reason given'}")
    return parse_info(done.stdout)


def parse_info(text: str) -> tuple[str, list[SmiChip]]:
    """(version, chips) from what `npu-smi info` prints."""
    version = _VERSION.search(text)
    chips: list[SmiChip] = []
    first: re.Match[str] | None = None
    for line in text.splitlines():
        if (process := _PROCESS.match(line)) is not None:
            card, chip = int(process[1]), int(process[2])
            user = f"{process[4]} (pid {process[3]})"
            chips = [
                replace(c, processes=(*c.processes, user)) if (c.card, c.chip) == (card, chip) else c for c in chips
            ]
        elif first is not None and (second := _SECOND_ROW.match(line)) is not None:
            chips.append(_chip(first, second))
            first = None
        else:
            first = _FIRST_ROW.match(line)
    return version[1] if version else "of unknown version", chips


def _chip(first: re.Match[str], second: re.Match[str]) -> SmiChip:
    return SmiChip(
        card=int(first[1]),
        chip=int(second[1]),
        device=int(second[2]),
        name=first[2],
        health=first[3],
        power_w=_number(first[4]),
        temperature_c=_number(first[5]),
        aicore_percent=int(second[4]),
        used_mib=int(second[5]),
        total_mib=int(second[6]),
    )


def _number(text: str) -> float | None:
    return None if text in ("NA", "-") else float(text)
