"""The compiler switch of every kernel: numba's ``njit`` with this project's options, typed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config

from kernels.cache import cache_folder
from kernels.isa import INSTRUCTION_SET, compiler_target

_config: Any = config  # numba sets its attributes at run time
_BLAS = "scipy.linalg"
Function = TypeVar("Function", bound=Callable[..., Any])

_target = compiler_target(INSTRUCTION_SET)
if _target is not None:  # for the whole process: only ever by request, in tests and benchmarks
    _config.CPU_NAME, _config.CPU_FEATURES = _target


def _load_numba_without_scipy() -> None:
    """Load the part of numba that looks for a BLAS, with SciPy's linear algebra out of sight.

    Otherwise the first kernel of each process imports it, which takes as long as loading all kernels does.
    What numba does without: its `np.convolve` is a loop in this process. `np.dot` looks for it again when it is used.
    """
    if _config.DISABLE_JIT or _BLAS in sys.modules:
        return
    sys.modules[_BLAS] = None  # type: ignore[assignment]  # importing it raises ModuleNotFoundError
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[_BLAS]


_load_numba_without_scipy()

_INNER: Any = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def checked(function: Function) -> Function:
    """As `njit`, with every index checked: for the twins of kernels that check none."""
    return _compiled(function, boundscheck=True)


def njit(function: Function) -> Function:
    """Compile at the first call, keep the result on disk, release the GIL while it runs.

    Lazy, not by signature: importing stays cheap, and `kernels.warm` compiles everything with progress.
    Division by zero gives inf or NaN as in NumPy. With NUMBA_DISABLE_JIT=1 the function is returned as it is.
    """
    return _compiled(function)


def _compiled(function: Function, **options: Any) -> Function:
    if _config.DISABLE_JIT:
        return function
    before = _config.CACHE_DIR
    _config.CACHE_DIR = cache_folder(INSTRUCTION_SET)  # read once, when the dispatcher is made
    try:
        return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function))
    finally:
        _config.CACHE_DIR = before


class Stage:
    """A compiled ``int64 f(int64)`` that Python calls, and compiled code by its address."""

    def __init__(self, function: Callable[[Any], int]) -> None:
        self._function: Any = njit(function)

    def __call__(self, slots: int) -> int:
        """Run it on the int64 array at that address; its return code."""
        return int(self._function(slots))

    def compile(self) -> None:
        """Compile it, or load it from the disk cache."""
        if not _config.DISABLE_JIT:
            self._function.compile((numba.types.int64,))

    @property
    def is_cached(self) -> bool:
        """Is there a compiled form on disk, for these sources and this instruction set?"""
        return any(Path(cache_folder(INSTRUCTION_SET)).rglob(f"*.{self._function.__name__}-*.nbi"))

    @property
    def address(self) -> int:
        """Address of the C function. NotImplementedError without the compiler."""
        if _config.DISABLE_JIT:
            raise NotImplementedError("the host path needs numba's compiler: unset NUMBA_DISABLE_JIT")
        self.compile()
        result = self._function.overloads[(numba.types.int64,)]
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))


def inner(function: Function) -> Function:
    """As `njit`, for what only other kernels call: no entry for Python and no cache file, half the time to compile."""
    if _config.DISABLE_JIT:
        return function
    return cast(Function, numba.njit(**_INNER)(function))


def inlined(function: Function) -> Function:
    """As `inner`, and LLVM must inline it into its callers: helpers of hot loops, whose state stays in registers."""
    if _config.DISABLE_JIT:
        return function
    return cast(Function, numba.njit(forceinline=True, **_INNER)(function))
