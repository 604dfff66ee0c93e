"""The instruction set of this run: what the processor has, or less if ENGINE_KERNEL_ISA asks for less."""

from __future__ import annotations

import os
import platform

from llvmlite import binding

#: Is this process one of 64-bit ARM?
IS_AARCH64 = platform.machine() == "aarch64"

#: What a processor needs for each set of x86, from the most capable down. "neon" is what LLVM makes of the vectors for
#: 64-bit ARM, "generic" for any processor.
_NEEDS = {
    "avx512": ("avx512f", "avx512bw", "avx512vbmi", "avx512vbmi2", "avx512vnni"),
    "avx2": ("avx2", "fma", "f16c"),
    "sse": ("ssse3", "sse4.1"),
}

#: The least processor with each, in LLVM's words.
_LEAST = {"avx2": "haswell", "sse": "nehalem", "generic": "x86-64"}


def available() -> tuple[str, ...]:
    """The instruction sets that this processor can run, best first."""
    features = binding.get_host_cpu_features()
    on_x86 = [name for name, needs in _NEEDS.items() if all(features.get(need) for need in needs)]
    return (*on_x86, *(["neon"] if IS_AARCH64 else []), "generic")


def chosen() -> str:
    """The best one, unless the environment variable ENGINE_KERNEL_ISA names another that the processor has."""
    usable = available()
    wanted = os.environ.get("ENGINE_KERNEL_ISA", usable[0])
    if wanted not in usable:
        raise ValueError(f"ENGINE_KERNEL_ISA={wanted!r} is not one of what this processor has: {', '.join(usable)}")
    return wanted


def compiler_target(instruction_set: str) -> tuple[str, str] | None:
    """LLVM's processor and further features when less than the host has is asked for; None for the host itself.

    So ENGINE_KERNEL_ISA=avx2 runs what a processor with AVX2 runs, and not AVX-512 code that LLVM made of it.
    """
    if instruction_set == available()[0] or IS_AARCH64:
        return None
    return _LEAST[instruction_set], ""


INSTRUCTION_SET = chosen()
