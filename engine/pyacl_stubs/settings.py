"""What to simulate: one frozen record, given by `configure` or by environment variables."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields

#: Prefix of the environment variables, for scripts that know nothing of the simulator: ENGINE_SIM_N_DEVICES=8.
ENVIRONMENT_PREFIX = "ENGINE_SIM_"

STRICTNESS = ("documented", "strict", "off")


@dataclass(frozen=True)
class Settings:
    """The simulated card and how strictly it judges.

    The fields under "uncertain" choose between behaviours that the public documentation leaves open.
    """

    #: Name of a file in ``profiles/`` without its suffix, or a path: rates, soc, memory.
    profile: str = "resnext101_32x8d-310"
    #: An Atlas 300I card carries four chips.
    n_devices: int = 4
    #: "documented": codes only; "strict": undefined behaviour is an error too, with reports; "off": fastest.
    strictness: str = "documented"
    #: Seed of the jitter and of seeded faults.
    seed: int = 0
    #: Relative standard deviation of execute times; None takes the profile's.
    jitter: float | None = None
    #: "real": waits take their time; "virtual": a wait moves the clock, for tests of ordering.
    clock: str = "real"
    #: Synchronous copies and executes hold the GIL while they wait, as the vendor's wrapper does.
    hold_gil: bool = True
    #: Threads of ONNX Runtime per model.
    numerics_threads: int = 1
    #: Fault script or a TOML file of faults, see `faults.parse`: "acl.mdl.execute_async:30=507011; ...".
    faults: str = ""
    #: Which process of a supervised program this is: in those started for a failed one, only faults marked so hold.
    process_number: int = 0
    #: Speed of single chips relative to the profile: "2=0.5" lets executes of chip 2 take twice as long.
    speeds: str = ""

    # --- uncertain -----------------------------------------------------------------------------------------------
    #: A memcpy_async from pageable memory: "async" (queued, read when it executes) or "blocks" (CANN 9).
    pageable_async: str = "async"
    #: Code of synchronize_stream_with_timeout at its timeout: 507046, or 107020.
    stream_timeout_code: int = 507046
    #: Code of process_report without a callback in time: 507012, or 107019.
    report_timeout_code: int = 507012
    #: Code of loading an .om of another soc: 545001, or 100012.
    soc_mismatch_code: int = 545001
    #: Code of an execute whose buffers are too small: 100000, or 145012.
    buffer_size_code: int = 100000
    #: Code of launch_callback on a stream without subscription: 107015, or 107011.
    unsubscribed_code: int = 107015
    #: Code of any call in a child that was forked after acl.init: 507000, or 100001.
    forked_code: int = 507000
    #: memcpy_async host to host: "call" fails at once with 207000, "execution" at the next synchronise.
    host_to_host_async: str = "call"
    #: get_recent_err_msg forgets the message once it was read.
    err_msg_is_consumed: bool = True
    #: synchronize_event tells the errors of the event's stream; else only synchronising the stream does.
    event_sync_tells_errors: bool = True
    #: What a wrong number or type of arguments raises: "TypeError", as the open wrapper does, or "RuntimeError".
    argument_error: str = "TypeError"
    #: Functions that this CANN does not have yet, e.g. "acl.get_recent_err_msg,acl.rt.create_stream_with_config".
    absent: str = ""

    def __post_init__(self) -> None:
        _require_one_of("strictness", self.strictness, STRICTNESS)
        _require_one_of("clock", self.clock, ("real", "virtual"))
        _require_one_of("pageable_async", self.pageable_async, ("async", "blocks"))
        _require_one_of("host_to_host_async", self.host_to_host_async, ("call", "execution"))
        _require_one_of("argument_error", self.argument_error, ("TypeError", "RuntimeError"))
        parse_speeds(self.speeds)
        if not 1 <= self.n_devices <= 64:
            raise ValueError(f"n_devices must be 1..64, got {self.n_devices}")

    @property
    def is_strict(self) -> bool:
        """Undefined behaviour is an error, with a report."""
        return self.strictness == "strict"

    @property
    def is_off(self) -> bool:
        """Only what is needed to compute: no alignment, lifetime or race checks."""
        return self.strictness == "off"


def parse_speeds(text: str) -> dict[int, float]:
    """Speed by chip from ``"2=0.5,3=0.25"``. Raises ValueError with the part that is wrong."""
    speeds = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        chip, _, speed = part.partition("=")
        try:
            speeds[int(chip)] = float(speed)
        except ValueError:
            raise ValueError(f"speed {part!r} is not CHIP=FACTOR, e.g. 2=0.5") from None
        if not 0.001 <= speeds[int(chip)] <= 1000:
            raise ValueError(f"speed {part!r}: needed a factor of 0.001 to 1000")
    return speeds


def _require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def settings_from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings with every field that the environment names, e.g. ``ENGINE_SIM_STRICTNESS=strict``."""
    hints = typing.get_type_hints(Settings)
    given = {}
    for field in fields(Settings):
        variable = ENVIRONMENT_PREFIX + field.name.upper()
        if variable in environment:
            given[field.name] = _parse(variable, environment[variable], hints[field.name])
    return Settings(**given)


def _parse(variable: str, text: str, hint: object) -> typing.Any:
    if isinstance(hint, types.UnionType):
        return None if text == "" else _parse(variable, text, typing.get_args(hint)[0])
    try:
        if hint is bool:
            return {"0": False, "1": True, "false": False, "true": True}[text.lower()]
        return hint(text) if callable(hint) else text
    except (ValueError, KeyError):
        raise ValueError(f"{variable}={text!r} is not a {getattr(hint, '__name__', hint)}") from None
