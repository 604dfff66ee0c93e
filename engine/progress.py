"""What is shown while a run goes on: a tqdm line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from engine.terminal import shown, warn

#: Seconds between plain lines when standard error is not a terminal.
PLAIN_EVERY_S = 5.0
#: Seconds between updates of the line on a terminal.
REFRESH_S = 0.2


class Progress:
    """Images done, images/s, running Top-1 and the time left, on standard error."""

    def __init__(self, n_positions: int | None, label: str, shows_accuracy: bool) -> None:
        """n_positions : images to come; None where time ends the run, not their number"""
        self._n_positions = n_positions
        self._label = label
        self._shows_accuracy = shows_accuracy
        self._began_s = self._said_s = 0.0  # set by the first call: starting the processes is not counted
        self._n_done = self._n_before = 0
        self._bar = (
            tqdm(total=n_positions, desc=label, unit="img", dynamic_ncols=True, mininterval=REFRESH_S, file=sys.stderr)
            if sys.stderr.isatty()
            else None
        )

    def __call__(self, n_done: int, n_top1: int) -> None:
        """`n_done` positions are settled, `n_top1` of them right at first."""
        if not self._began_s:
            self._began_s = self._said_s = time.perf_counter()
            self._n_before = self._n_done = n_done  # of earlier parts of a resumed run: no rate counts them
            if self._bar is not None:
                self._bar.reset(self._n_positions)  # its clock, too
                self._bar.update(n_done)
                self._bar.initial = n_done
            else:
                self.notice(f"{self._label}: started" + (f", {self._n_positions} images" if self._n_positions else ""))
        if n_done == self._n_done:
            return
        top1 = f"Top-1 {100 * n_top1 / n_done:.2f} %" if self._shows_accuracy else ""
        if self._bar is not None:
            self._bar.set_postfix_str(top1, refresh=False)
            self._bar.update(n_done - self._n_done)
        elif time.perf_counter() - self._said_s > PLAIN_EVERY_S:
            self._say(n_done, top1)
        self._n_done = n_done

    def notice(self, text: str) -> None:
        """One line that stays."""
        if self._bar is not None:
            self._bar.write(shown(text, sys.stderr), file=sys.stderr)
        else:
            warn(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _say(self, n_done: int, top1: str) -> None:
        self._said_s = time.perf_counter()
        rate = (n_done - self._n_before) / (self._said_s - self._began_s)
        done, left = f"{n_done} images", ""
        if self._n_positions:
            done = f"{n_done}/{self._n_positions} images"
            left = f"{(self._n_positions - n_done) / rate:.0f} s left"
        parts = [f"{self._label}: {done}", f"{rate:.1f} images/s", top1, left]
        warn(", ".join(part for part in parts if part))
