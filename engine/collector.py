"""The collector: ranks the true label of each row as it comes back, and keeps every sample's prediction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernels.rank import rank_rows

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

TOP = 5
PENDING, SCORED, NAN, FAILED = 0, 1, 2, 3
#: Rank of a sample that has scores and no label.
UNRANKED = -1


@dataclass
class Predictions:
    """The result for each sample, in sample order.

    ranks      : (n,) int32, 1 = right at first; 0 where the sample failed or its scores hold a NaN; UNRANKED
    top_ids    : (n, 5) int32, classes of the model, best first; -1 where there is none
    top_logits : (n, 5) float32
    states     : (n,) uint8, PENDING, SCORED, NAN or FAILED
    reasons    : {sample: why it failed}
    """

    ranks: I32
    top_ids: I32
    top_logits: F32
    states: npt.NDArray[np.uint8]
    reasons: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, n: int) -> Predictions:
        ids = np.full((n, TOP), -1, np.int32)
        return cls(np.zeros(n, np.int32), ids, np.zeros((n, TOP), np.float32), np.zeros(n, np.uint8))

    def __len__(self) -> int:
        return len(self.ranks)

    def n_in_top(self, k: int) -> int:
        """Samples whose true label is among the first `k` classes."""
        return int(np.count_nonzero((self.ranks >= 1) & (self.ranks <= k)))


@dataclass
class Collector:
    """Scores slots.

    labels : (n,) int32, the true class of each sample as a column of the model's output; below 0: not known
    """

    labels: I32
    predictions: Predictions
    n_top1: int = 0  # over all passes, for the progress line
    n_inconsistent: int = 0  # results of a later pass that differ from the first one's
    first_difference: tuple[int, str] | None = None  # of these: the sample, and what it was later

    @classmethod
    def of(cls, labels: I32) -> Collector:
        return cls(labels, Predictions.empty(len(labels)))

    def score(self, outputs: F32, samples: npt.NDArray[np.int64]) -> None:
        """Rank the rows of `outputs` (n, n_classes), one per entry of `samples`."""
        n = len(samples)
        ranks = np.empty(n, np.int32)
        top_ids = np.empty((n, TOP), np.int32)
        top_logits = np.empty((n, TOP), np.float32)
        columns = self.labels[samples]
        is_unknown = columns < 0
        rank_rows(outputs, np.where(is_unknown, 0, columns).astype(np.int32), ranks, top_ids, top_logits)
        ranks[is_unknown & (ranks > 0)] = UNRANKED  # any column's rank tells whether there is a NaN
        self.n_top1 += int(np.count_nonzero(ranks == 1))
        kept = self.predictions
        is_new = kept.states[samples] == PENDING
        self._compare(samples, ranks, top_ids, ~is_new)
        new = samples[is_new]
        kept.ranks[new] = ranks[is_new]
        kept.top_ids[new] = top_ids[is_new]
        kept.top_logits[new] = top_logits[is_new]
        kept.states[new] = np.where(ranks[is_new] != 0, SCORED, NAN)

    def fail(self, sample: int, reason: str) -> None:
        """The sample could not be decoded."""
        if self.predictions.states[sample] not in (PENDING, FAILED):
            self._differs(sample, f"it failed in a later pass: {reason}")
            return
        self.predictions.states[sample] = FAILED
        self.predictions.reasons[sample] = reason

    def _compare(self, samples: npt.NDArray[np.int64], ranks: I32, top_ids: I32, again: npt.NDArray[np.bool_]) -> None:
        if not again.any():
            return
        kept, seen = self.predictions, samples[again]
        differs = (kept.ranks[seen] != ranks[again]) | (kept.top_ids[seen] != top_ids[again]).any(axis=1)
        for sample, rank in zip(seen[differs].tolist(), ranks[again][differs].tolist(), strict=True):
            self._differs(
                sample, f"its rank was {kept.ranks[sample] or 'none'} at first and {rank or 'none'} in a later pass"
            )

    def _differs(self, sample: int, how: str) -> None:
        self.n_inconsistent += 1
        self.first_difference = self.first_difference or (sample, how)
