"""pyACL's calls with their status checked: every return code of the backend goes through `check`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.errors import DeviceError
from engine.pyacl_stubs.codes import code_name

ACL_SUCCESS = 0
#: The chip, its driver or its bus has gone: lost heartbeat, device setup, driver, HDC connection.
CHIP_GONE = frozenset({507010, 507033, 507899, 507901})
#: The chip has too little memory: fewer or smaller buffers may fit.
OUT_OF_MEMORY = frozenset({200000, 207001, 207018, 245000})


def remedy_of(code: int) -> str:
    """What may help: "restart" a process on that chip, or nothing ("gone").

    A new process may cure an internal error (5xxxxx) or a lack of resources (2xxxxx). Wrong use (1xxxxx) is a defect
    that any process would repeat.
    """
    return "restart" if code not in CHIP_GONE and code // 100_000 in (2, 5) else "gone"


def device_error(ret: int, call: str, chip: int, message: str | None = None) -> DeviceError:
    """The error of a failed call. message : of get_recent_err_msg"""
    said = f": {' '.join(message.split())}" if message else ""
    where = f" on chip {chip}" if chip >= 0 else ""
    return DeviceError(f"{call} failed{where}: {code_name(ret)} ({ret}){said}", chip, ret, remedy_of(ret))


#: A call that returns a code alone, to be made later: function, arguments, name.
Call = tuple[Callable[..., int], tuple[int, ...], str]


class Acl:
    """pyACL for one chip: ``acl.rt("malloc", n, 0)`` returns the value alone, or raises DeviceError."""

    def __init__(self, module: Any, chip: int) -> None:
        self.module = module
        self.chip = chip
        #: ``rt("malloc", n, 0)`` is `acl.rt.malloc`, `mdl` is `acl.mdl`, `top` is `acl` itself.
        self.rt = self._group("rt")
        self.mdl = self._group("mdl")
        self.top = self._group("")

    def call(self, name: str, *args: int) -> Call:
        """``call("rt.record_event", event, stream)``: for `run`, as often as it is wanted."""
        function: Any = self.module
        for part in name.split("."):
            function = getattr(function, part)
        return function, args, f"acl.{name}"

    def run(self, calls: Iterable[Call]) -> None:
        """Make calls in order, up to the first that fails: DeviceError."""
        for function, args, name in calls:
            ret = function(*args)
            if ret != ACL_SUCCESS:
                raise self._error(ret, name)

    def made(self, handle: int, call: str) -> int:
        """The handle of a creator that returns no code, and 0 where it failed."""
        if not handle:
            raise self._error(500000, call)
        return handle

    def _group(self, group: str) -> Callable[..., Any]:
        """Calls of one group, which return `ret` or `(value, ret)`: their value, or DeviceError."""
        owner = getattr(self.module, group) if group else self.module
        functions: dict[str, Callable[..., Any]] = {}

        def checked(call: str, *args: Any) -> Any:
            function = functions.get(call)
            if function is None:
                function = functions[call] = getattr(owner, call)
            result = function(*args)
            value, ret = result if type(result) is tuple else (None, result)
            if ret != ACL_SUCCESS:
                raise self._error(ret, f"acl.{group}.{call}" if group else f"acl.{call}")
            return value

        return checked

    def _error(self, ret: int, call: str) -> DeviceError:
        recent = getattr(self.module, "get_recent_err_msg", None)  # old CANN has none
        return device_error(ret, call, self.chip, recent() if recent is not None else None)
