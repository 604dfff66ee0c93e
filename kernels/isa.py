"""The instruction set of this run: what the processor has, or less if ENGINE_KERNEL_ISA asks for less."""

from __future__ import annotations

import os

from llvmlite import binding

#: From the most capable down. "generic" is LLVM vector code without any x86 instruction: NEON on aarch64.
INSTRUCTION_SETS = ("avx512", "avx2", "generic")

_NEEDS = {
    "avx512": ("avx512f", "avx512bw", "avx512vbmi", "avx512vbmi2", "avx512vnni"),
    "avx2": ("avx2", "fma", "f16c"),
    "generic": (),
}


def available() -> tuple[str, ...]:
    """The instruction sets that this processor can run, best first."""
    features = binding.get_host_cpu_features()
    return tuple(name for name in INSTRUCTION_SETS if all(features.get(need) for need in _NEEDS[name]))


def chosen() -> str:
    """The best one, unless the environment variable ENGINE_KERNEL_ISA names another that the processor has."""
    usable = available()
    wanted = os.environ.get("ENGINE_KERNEL_ISA", usable[0])
    if wanted not in usable:
        raise ValueError(f"ENGINE_KERNEL_ISA={wanted!r} is not one of what this processor has: {', '.join(usable)}")
    return wanted


INSTRUCTION_SET = chosen()
