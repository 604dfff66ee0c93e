"""How often a dead process is replaced: now and then for as long as the run lasts, again and again not."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import WorkerError

#: Deaths of one kind of process without work between them that a run survives. A feeder's cost most: it loads its model
#: anew. Twice the processes of that kind where that is more: each may be hit, and its successor once again.
MOST_DEATHS = {"decoder": 8, "feeder": 4}
#: Images done that make up for one death. One that kills its decoder costs two to four deaths until it is FAILED: runs
#: in which every thirtieth image does so still go on for ever.
IMAGES_PER_DEATH = 8


@dataclass
class _Account:
    """Of one kind of process, since it last owed nothing."""

    owed: float = 0.0
    n_deaths: int = 0
    n_images: int = 0


class Restarts:
    """Weighs deaths against work, for decoders and feeders each."""

    def __init__(self) -> None:
        self._accounts = {role: _Account() for role in MOST_DEATHS}

    def worked(self, role: str, n_images: int) -> None:
        """Processes of this kind have done `n_images` more."""
        account = self._accounts[role]
        if account.owed <= n_images / IMAGES_PER_DEATH:
            self._accounts[role] = _Account()
        else:
            account.owed -= n_images / IMAGES_PER_DEATH
            account.n_images += n_images

    def died(self, role: str, n_members: int, what: str) -> None:
        """One of `n_members` of this kind has died; WorkerError where that happens too often. what : who, and how"""
        account = self._accounts[role]
        account.owed += 1
        account.n_deaths += 1
        if account.owed > max(MOST_DEATHS[role], 2 * n_members):
            raise WorkerError(
                f"{what}; that was death {account.n_deaths} of a {role} within {account.n_images} images: the run is "
                "stopped; find the cause with --workers 1 and --limit, then go on with --resume"
            )
