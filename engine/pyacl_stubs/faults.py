"""Faults on request, from a script of rules in one line:

    acl.rt.malloc:3=207001                  the third call fails with a code, at the call
    acl.mdl.execute_async:30=507011@queue   it is queued, and the next synchronise returns the code
    acl.mdl.execute_async:10+=slow10        from the tenth on, executes take ten times as long on that device
    acl.mdl.execute_async:5/2=lost507033    the fifth on device 2: that chip is gone, all its calls return the code
    acl.mdl.execute_async:8=hang            it never completes
    acl.mdl.execute_async:4=wrong           its outputs are wrong numbers
    acl.mdl.execute_async:p0.01=507011      each call with this probability, seeded

Rules are joined by ``;``. ``:N`` counts calls of the process, ``:N/D`` those on device D; ``:N+`` is every call from
N on. A rule holds in the first process only, not in those that a supervisor starts for a failed one; with ``*`` at its
end it holds in each.

The same as a TOML file, its name ending in ``.toml``:

    seed = 7                        # of probabilities; without it the simulator's
    [[fault]]
    call = "acl.mdl.execute_async"
    nth = 30                        # or from = 30, or probability = 0.01
    device = 2                      # counts calls on this chip; without it those of the process
    action = "queue"                # fail, queue, slow, lost, hang, wrong
    code = 507011                   # of fail, queue and lost
    factor = 10.0                   # of slow
    every_process = true            # also in processes started for a failed one
"""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.files import parse_toml
from engine.pyacl_stubs.codes import Outcome
from engine.pyacl_stubs.settings import Settings

if TYPE_CHECKING:
    from engine.pyacl_stubs.chip import Chip


_RULE = re.compile(
    r"(?P<call>acl\.[a-z0-9_.]+):(?:p(?P<probability>[0-9.]+)|(?P<nth>\d+)(?P<onward>\+)?)(?:/(?P<device>\d+))?"
    r"=(?P<action>slow|lost|hang|wrong)?(?P<number>[0-9.]*)(?P<queued>@queue)?(?P<every>\*)?"
)
ACTIONS = ("fail", "queue", "slow", "lost", "hang", "wrong")
#: Keys of a fault in TOML, and what they need to be.
_KEYS = {
    "call": str,
    "nth": int,
    "from": int,
    "probability": float,
    "device": int,
    "action": str,
    "code": int,
    "factor": float,
    "every_process": bool,
}


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
    is_every_process: bool = False


def parse(script: str) -> list[Fault]:
    """The rules of a script, or of a TOML file. Raises FaultError with the rule that is wrong."""
    if script.strip().endswith(".toml"):
        return _read_toml(Path(script.strip()))[0]
    return [_parse_rule(rule.strip()) for rule in script.split(";") if rule.strip()]


def _read_toml(path: Path) -> tuple[list[Fault], int | None]:
    """The faults of a file, and its seed."""
    try:
        table = parse_toml(path)
    except OSError as error:
        raise FaultError(f"fault file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise FaultError(f"fault file {path} is not TOML: {error}") from None
    seed, rules = table.pop("seed", None), table.pop("fault", [])
    if table or not isinstance(rules, list) or not isinstance(seed, int | None):
        raise FaultError(f"fault file {path} holds a seed and [[fault]] tables, not {', '.join(table) or 'these'}")
    return [_fault_of(f"{path}, fault {number}", rule) for number, rule in enumerate(rules, 1)], seed


def _fault_of(where: str, rule: dict[str, Any]) -> Fault:
    for key, value in rule.items():
        if key not in _KEYS:
            raise FaultError(f"{where}: unknown key {key!r}; known: {', '.join(_KEYS)}")
        kind = _KEYS[key]
        if not isinstance(value, (int, float) if kind is float else kind) or (
            isinstance(value, bool) != (kind is bool)
        ):
            raise FaultError(f"{where}: {key} = {value!r} is no {kind.__name__}")
    action = rule.get("action", "fail")
    if not re.fullmatch(r"acl\.[a-z0-9_.]+", rule.get("call", "")) or action not in ACTIONS:
        raise FaultError(f'{where}: needed call = "acl...." and an action of {", ".join(ACTIONS)}')
    number = {"slow": "factor", "hang": None, "wrong": None}.get(action, "code")
    if number is not None and number not in rule:
        raise FaultError(f"{where}: action {action} needs a {number}")
    return Fault(
        call=rule["call"],
        action=action,
        number=float(rule[number]) if number else 0.0,
        nth=rule.get("from", rule.get("nth", 1)),
        is_onward="from" in rule,
        probability=rule.get("probability"),
        device=rule.get("device"),
        is_every_process=rule.get("every_process", False),
    )


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
        is_every_process=bool(match["every"]),
    )


class FaultScript:
    """Rules with their counters."""

    @classmethod
    def of(cls, settings: Settings) -> FaultScript:
        """The rules that hold in this process."""
        script, seed = settings.faults.strip(), settings.seed
        if script.endswith(".toml"):
            faults, own_seed = _read_toml(Path(script))
            seed = seed if own_seed is None else own_seed
        else:
            faults = parse(script)
        return cls([f for f in faults if f.is_every_process or not settings.process_number], seed)

    def __init__(self, faults: list[Fault], seed: int) -> None:
        self._faults = faults
        self._calls = {fault.call for fault in self._faults}
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._due = threading.local()
        self._slowed: set[tuple[Fault, int]] = set()

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
                self._slow_down(fault, context.device.chip)
            if fault.action in ("fail", "lost"):
                raise Outcome(int(fault.number), f"injected fault: {fault.action} at call {fault.nth} of {call}")

    def _slow_down(self, fault: Fault, chip: Chip) -> None:
        """Once per chip: the rule holds for many calls, and a chip may be slow already."""
        if (fault, chip.id) not in self._slowed:
            self._slowed.add((fault, chip.id))
            chip.slowness *= fault.number

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
