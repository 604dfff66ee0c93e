"""The instruction set of this run: what the processor has, or less if ENGINE_KERNEL_ISA asks for less."""

from __future__ import annotations

import os
import platform

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


def compiler_target(instruction_set: str) -> tuple[str, str] | None:
    """LLVM's processor and features when less than the host has is asked for; None for the host itself.

    So ENGINE_KERNEL_ISA=avx2 runs what a processor with AVX2 runs, and not AVX-512 code that LLVM made of it.
    """
    usable = available()
    if instruction_set == usable[0] or "avx2" not in usable:
        return None
    beyond: tuple[str, ...] = ("avx512", "avx10", "amx", "avxvnni", "avxifma", "avxneconvert")
    if instruction_set == "generic":
        beyond = ("avx", "amx", "fma", "f16c", "vaes", "vpclmulqdq", "gfni", "xop")
    features = binding.get_host_cpu_features()
    kept = [f"+{name}" for name, has in sorted(features.items()) if has and not name.startswith(beyond)]
    return "haswell" if instruction_set == "avx2" else "nehalem", ",".join(kept)


#: Is this process one of 64-bit ARM?
IS_AARCH64 = platform.machine() == "aarch64"
INSTRUCTION_SET = chosen()
