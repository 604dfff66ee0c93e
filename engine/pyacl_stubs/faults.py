"""Faults on request, from a script of rules in one line:

    acl.rt.malloc:3=207001                  the third call fails with a code, at the call
    acl.mdl.execute_async:30=507011@queue   it is queued, and the next synchronise returns the code
    acl.mdl.execute_async:10+=slow10        from the tenth on, executes take ten times as long on that device
    acl.mdl.execute_async:5/2=lost507033    the fifth on device 2: that chip is gone, all its calls return the code
    acl.mdl.execute_async:8=hang            it never completes
    acl.mdl.execute_async:4=wrong           its outputs are wrong numbers
    acl.mdl.execute_async:p0.01=507011      each call with this probability, seeded

Rules are joined by ``;``. ``:N`` counts calls of the process, ``:N/D`` those on device D; ``:N+`` is every call from
N on.
"""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from dataclasses import dataclass

from engine.pyacl_stubs.codes import Outcome

_RULE = re.compile(
    r"(?P<call>acl\.[a-z0-9_.]+):(?:p(?P<probability>[0-9.]+)|(?P<nth>\d+)(?P<onward>\+)?)(?:/(?P<device>\d+))?"
    r"=(?P<action>slow|lost|hang|wrong)?(?P<number>[0-9.]*)(?P<queued>@queue)?"
)


class FaultError(ValueError):
    """A fault script that cannot be read."""


@dataclass(frozen=True)
class Fault:
    """One rule. action : "fail" at the call, "queue" fails at synchronise, "slow", "lost", "hang", "wrong"."""

    call: str
    action: str
    number: float = 0.0
    nth: int = 1
    is_onward: bool = False
    probability: float | None = None
    device: int | None = None


def parse(script: str) -> list[Fault]:
    """The rules of a script. Raises FaultError with the rule that is wrong."""
    return [_parse_rule(rule.strip()) for rule in script.split(";") if rule.strip()]


def _parse_rule(rule: str) -> Fault:
    match = _RULE.fullmatch(rule)
    if match is None:
        raise FaultError(f"fault rule {rule!r} is not CALL:WHICH=WHAT, e.g. acl.rt.malloc:3=207001")
    action = match["action"] or ("queue" if match["queued"] else "fail")
    if action in ("fail", "queue", "slow", "lost") and not match["number"]:
        raise FaultError(f"fault rule {rule!r} needs a number after {action!r}")
    return Fault(
        call=match["call"],
        action=action,
        number=float(match["number"] or 0),
        nth=int(match["nth"] or 1),
        is_onward=bool(match["onward"]),
        probability=float(match["probability"]) if match["probability"] else None,
        device=int(match["device"]) if match["device"] else None,
    )


class FaultScript:
    """Rules with their counters."""

    def __init__(self, script: str, seed: int) -> None:
        self._faults = parse(script)
        self._calls = {fault.call for fault in self._faults}
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._due = threading.local()

    def before(self, call: str) -> None:
        """Called at the begin of every call. Raises Outcome where a rule lets it fail, or loses the chip."""
        if call not in self._calls:
            self._due.faults = []
            return
        from engine.pyacl_stubs.process import PROCESS

        context = PROCESS.thread.context
        device = context.device.id if context is not None else None
        self._due.faults = faults = self._matching(call, device)
        for fault in faults:
            if fault.action == "lost" and context is not None:
                context.device.chip.lost_code = int(fault.number)
            if fault.action == "slow" and context is not None:
                context.device.chip.slowness = fault.number
            if fault.action in ("fail", "lost"):
                raise Outcome(int(fault.number), f"injected fault: {fault.action} at call {fault.nth} of {call}")

    def due(self, action: str) -> Fault | None:
        """The rule of this kind that holds for the call that the thread is in."""
        return next((fault for fault in getattr(self._due, "faults", []) if fault.action == action), None)

    def _matching(self, call: str, device: int | None) -> list[Fault]:
        with self._lock:
            self._counts[call, None] += 1
            if device is not None:
                self._counts[call, device] += 1
            return [fault for fault in self._faults if fault.call == call and self._holds(fault, device)]

    def _holds(self, fault: Fault, device: int | None) -> bool:
        if fault.device is not None and fault.device != device:
            return False
        if fault.probability is not None:
            return self._random.random() < fault.probability
        count = self._counts[fault.call, fault.device]
        return count >= fault.nth if fault.is_onward else count == fault.nth
