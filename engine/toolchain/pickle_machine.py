"""Read a pickle without executing it.

A pickle is a program, and Python's own machine calls whatever the program names. This one walks over the same opcodes
(``pickletools.genops`` only parses them) and knows containers, numbers, text and a short list of names that its caller
admits. There is no import, no attribute access and no call of anything that the file could choose.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

Handler = Callable[[tuple[object, ...]], object]

#: Magic numbers of torch need 80 bits; longer integers only serve to make trouble.
MAX_INT_BITS = 80

_CONSTANTS: Mapping[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"}
_PUTS = {"BINPUT", "LONG_BINPUT"}
_GETS = {"BINGET", "LONG_BINGET"}
_IGNORED = {"PROTO", "FRAME"}
_SMALL_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleError(ValueError):
    """A pickle that is damaged, or that asks for more than it may. Its text is the reason, one line."""


@dataclass(frozen=True)
class Global:
    """An admitted ``module.name`` of the pickle: a label, never the object of that name."""

    name: str


class PickleMachine:
    """Build the value of one pickle.

    admitted   : name -> what stands for calling it, or None for a name that may be mentioned but not called
    persistent : what stands for a persistent id (torch: a storage)
    """

    def __init__(self, admitted: Mapping[str, Handler | None], persistent: Callable[[object], object]) -> None:
        self._admitted = admitted
        self._persistent = persistent
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._actions: Mapping[str, Callable[[], None]] = {
            "MARK": lambda: self._marks.append(len(self._stack)),
            "TUPLE": lambda: self._stack.append(tuple(self._pop_mark())),
            "EMPTY_LIST": lambda: self._stack.append([]),
            "EMPTY_DICT": lambda: self._stack.append({}),
            "APPEND": lambda: self._append([self._stack.pop()]),
            "APPENDS": lambda: self._append(self._pop_mark()),
            "SETITEM": lambda: self._set_items(self._pop(2)),
            "SETITEMS": lambda: self._set_items(self._pop_mark()),
            "BUILD": lambda: self._drop_state(),
            "REDUCE": lambda: self._call(),
            "BINPERSID": lambda: self._stack.append(self._persistent(self._stack.pop())),
            "STACK_GLOBAL": lambda: self._push_global(".".join(str(part) for part in self._pop(2))),
            "MEMOIZE": lambda: self._memo.update({len(self._memo): self._stack[-1]}),
        }

    def run(self, stream: BinaryIO) -> object:
        """Read one pickle from ``stream`` and leave the position behind it."""
        try:
            for opcode, arg, _ in pickletools.genops(stream):
                if opcode.name == "STOP":
                    break
                self._step(opcode.name, arg)
            return self._stack.pop()
        except PickleError:
            raise
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise PickleError(f"the pickle is damaged ({type(error).__name__}: {_one_line(error)})") from error

    def _step(self, name: str, arg: object) -> None:
        if name in _LITERALS:
            self._stack.append(arg)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _PUTS:
            self._memo[cast(int, arg)] = self._stack[-1]
        elif name in _GETS:
            self._stack.append(self._memo[cast(int, arg)])
        elif name in _SMALL_TUPLES:
            self._stack.append(tuple(self._pop(_SMALL_TUPLES[name])))
        elif name in self._actions:
            self._actions[name]()
        elif name == "GLOBAL":
            self._push_global(str(arg).replace(" ", "."))
        elif name == "LONG1":
            self._stack.append(_short_int(cast(int, arg)))
        elif name not in _IGNORED:
            raise PickleError(f"the pickle uses {name}, which no state dict needs")

    def _pop(self, count: int) -> list[object]:
        if len(self._stack) < count:
            raise PickleError("the pickle is damaged (its stack ran empty)")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _pop_mark(self) -> list[object]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _append(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise PickleError(f"the pickle is damaged (it appends to a {type(target).__name__})")
        target.extend(items)

    def _set_items(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise PickleError(f"the pickle is damaged (it sets items of a {type(target).__name__})")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Other keys are never needed, and the hash of a deeply nested tuple overflows the C stack.
            if not isinstance(key, (str, int)):
                raise PickleError(
                    f"the pickle has a key of type {type(key).__name__}, only text and integers are admitted"
                )
            target[key] = value

    def _drop_state(self) -> None:
        """Attributes of an object (torch: ``_metadata`` of a state dict) are read and forgotten."""
        self._pop(1)
        if not isinstance(self._stack[-1], dict):
            raise PickleError(f"the pickle sets the state of a {type(self._stack[-1]).__name__}")

    def _push_global(self, name: str) -> None:
        if name not in self._admitted:
            raise PickleError(f"the pickle asks for {name!r}, which is not admitted; nothing was executed")
        self._stack.append(Global(name))

    def _call(self) -> None:
        function, arguments = self._pop(2)
        handler = self._admitted.get(function.name) if isinstance(function, Global) else None
        if handler is None or not isinstance(arguments, tuple):
            called = function.name if isinstance(function, Global) else f"a {type(function).__name__}"
            raise PickleError(f"the pickle calls {called}, which is not admitted; nothing was executed")
        self._stack.append(handler(arguments))


def _short_int(value: int) -> int:
    if value.bit_length() > MAX_INT_BITS:
        raise PickleError(
            f"the pickle has an integer of {value.bit_length()} bits, at most {MAX_INT_BITS} are admitted"
        )
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
