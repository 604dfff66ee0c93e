"""Before a run begins: what it needs of this host against what there is, and which option to lower."""

from __future__ import annotations

import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

from engine import host
from engine.errors import ResourceError
from engine.layout import MIB

#: Descriptors of a hub without members: standard streams, fork server, arena, names, stacks, journal, files in passing.
HUB_DESCRIPTORS = 40
#: Two pipes, the process itself, and the end of its fork server.
DESCRIPTORS_PER_MEMBER = 5
#: Memory of one process beside what it shares with the fork server, measured: 60 MiB for a decoder of large images.
MEMBER_BYTES = 64 * MIB
#: predictions.csv beside the name; the journal's record of an image; a score as text, as a number; a file's last block.
CSV_BYTES = 120
JOURNAL_BYTES = 64
SCORE_BYTES = {"txt": 12, "bin": 4, "npy": 4}
BLOCK_BYTES = 4096
N_SCORES = 1000
#: run.json, result.json and the perf files.
REPORT_BYTES = MIB


@dataclass(frozen=True)
class Needs:
    """What decides the needs of a run. names_bytes : of all names together"""

    n_decoders: int
    n_feeders: int
    n_images: int
    n_positions: int
    names_bytes: int
    dump: str | None
    out: Path

    @property
    def n_members(self) -> int:
        return self.n_decoders + self.n_feeders

    @property
    def disk_bytes(self) -> int:
        """In --out, about."""
        per_image = CSV_BYTES + JOURNAL_BYTES
        if self.dump is not None:
            per_image += SCORE_BYTES[self.dump] * N_SCORES + BLOCK_BYTES
        return REPORT_BYTES + 2 * self.names_bytes + per_image * self.n_images + JOURNAL_BYTES * self.n_positions // 4


def check_needs(needs: Needs) -> None:
    """ResourceError with need, have and remedy for the first thing that is too little."""
    _check_descriptors(needs)
    _check_memory(needs)
    _check_disk(needs)


def _check_descriptors(needs: Needs) -> None:
    """The soft limit is raised where the hard one allows it."""
    need = HUB_DESCRIPTORS + DESCRIPTORS_PER_MEMBER * needs.n_members
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= need:
        return
    if hard == resource.RLIM_INFINITY or hard >= need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
        return
    fitting = (hard - HUB_DESCRIPTORS) // DESCRIPTORS_PER_MEMBER - needs.n_feeders
    remedy = f"lower --workers to {fitting}" if fitting > 0 else "raise the limit"
    raise ResourceError(
        f"{needs.n_decoders} decoders and {needs.n_feeders} feeders need {need} file descriptors "
        f"but {hard} are allowed (ulimit -n): {remedy}"
    )


def _check_memory(needs: Needs) -> None:
    need, have = MEMBER_BYTES * needs.n_members, host.available_memory_bytes()
    if need > have:
        fitting = max(1, have // MEMBER_BYTES - needs.n_feeders)
        raise ResourceError(
            f"{needs.n_members} processes need {need // MIB} MiB of memory but {max(have, 0) // MIB} MiB are available "
            f"(MemAvailable, cgroup, ulimit -v): lower --workers to {fitting}"
        )


def _check_disk(needs: Needs) -> None:
    need, have = needs.disk_bytes, shutil.disk_usage(needs.out).free
    if need > have:
        remedy = "leave --dump out, lower --limit" if needs.dump else "lower --limit"
        raise ResourceError(
            f"the results need about {need / MIB:.1f} MiB but the disk of --out {needs.out} has {have / MIB:.1f} MiB "
            f"free: {remedy}, make room or choose another --out"
        )
