"""What every call has in common: positional integers in, documented return shape out, failures as codes."""

from __future__ import annotations

import functools
import inspect
import operator
import typing
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from engine.pyacl_stubs.codes import AclError
from engine.pyacl_stubs.process import PROCESS

P = ParamSpec("P")
R = TypeVar("R")
Failed = Callable[[int], Any]


def only_code(code: int) -> int:
    """``ret``"""
    return code


def with_zero(code: int) -> tuple[int, int]:
    """``(value, ret)`` with a NULL value."""
    return 0, code


def with_dict(code: int) -> tuple[dict[str, Any], int]:
    """``({}, ret)``"""
    return {}, code


def bare_zero(code: int) -> int:
    """A bare value; NULL where there is none."""
    return 0


def entry(name: str, failed: Failed = only_code, needs_init: bool = True) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function one of pyACL's.

    failed : the return value that tells a code, in the function's documented shape
    The function raises AclError to fail, and everything else (TypeError of a wrong argument) reaches the program.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        kinds = _argument_kinds(function)
        n_required = _n_required(function)
        run: Callable[..., R] = function

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            if tuple(map(type, args)) != kinds:
                args = _converted(name, args, kinds, n_required)
            try:
                if not PROCESS.is_open and needs_init:
                    PROCESS.check_ready()
                if PROCESS.faults is not None:
                    PROCESS.faults.before(name)
                return run(*args)
            except AclError as error:
                PROCESS.record_failure(name, error)
                return failed(error.code)

        call.acl_name = name  # type: ignore[attr-defined]
        return typing.cast("Callable[P, R]", call)

    return decorate


def _argument_kinds(function: Callable[..., Any]) -> tuple[type | None, ...]:
    """The exact type that each argument must have, None for any."""
    hints = typing.get_type_hints(function)
    exact = (int, str, bytes, float)
    return tuple(hints[p] if hints.get(p) in exact else None for p in inspect.signature(function).parameters)


def _n_required(function: Callable[..., Any]) -> int:
    parameters = inspect.signature(function).parameters.values()
    return sum(parameter.default is inspect.Parameter.empty for parameter in parameters)


def _converted(name: str, args: tuple[Any, ...], kinds: tuple[type | None, ...], n_required: int) -> tuple[Any, ...]:
    """Integers of other types as int. Raises what pyACL's argument parser does (settings: argument_error)."""
    refused = TypeError if PROCESS.settings.argument_error == "TypeError" else RuntimeError
    if not n_required <= len(args) <= len(kinds):
        raise refused(f"{name}() takes {len(kinds)} arguments, {len(args)} were given")
    fixed = list(args)
    for i, (value, kind) in enumerate(zip(args, kinds, strict=False)):
        if kind is None or isinstance(value, kind):
            continue
        if kind is not int or not hasattr(value, "__index__"):
            raise refused(f"{name}() argument {i + 1} must be {kind.__name__}, not {type(value).__name__}")
        fixed[i] = operator.index(value)
    return tuple(fixed)
