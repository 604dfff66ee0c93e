"""`engine compile`: ONNX to `.om`, one file per batch size or one with all of them.

What atc makes is kept in the cache under a hash of everything that decides it: the model, the flags, the AIPP file,
the compiler. Made again only where one of them differs; what comes out of the cache is checked against its hash.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, ModelError
from engine.files import atomic_path, atomic_write, cache_dir
from engine.layout import MIB
from engine.models import sha256_of
from engine.presets import find_preset
from engine.toolchain.atc import (
    Atc,
    Target,
    aipp_config,
    aipp_numbers,
    command,
    find_atc,
    flags,
    run_atc,
    shell_line,
)
from engine.toolchain.atc_support import find_problems
from kernels.spec import PreprocessSpec

Say = Callable[[str], None]
#: Raise it when the meaning of a cache entry changes.
CACHE_SCHEMA = 1


@dataclass(frozen=True)
class CompileRequest:
    """What to compile.

    batches : sizes, in the order asked for        prefix : the files are PREFIX_bs<N>.om; None: the model's name
    aipp    : preset whose mean and std the chip applies to uint8 images, None for none
    is_unchecked : leave it to atc to judge opset and operators
    """

    onnx: Path
    batches: tuple[int, ...]
    prefix: Path | None = None
    soc: str = "Ascend310"
    is_dynamic: bool = False
    aipp: str | None = None
    is_fp16_input: bool = False
    is_simulated: bool = False
    is_unchecked: bool = False
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compiled:
    """One .om. line : the command that makes it, "" for a simulated one        origin : atc, cache or simulated"""

    path: Path
    sha256: str
    batches: tuple[int, ...]
    line: str
    origin: str


@dataclass(frozen=True)
class _Source:
    """An ONNX that was looked at."""

    path: Path
    sha256: str
    input_name: str
    image: tuple[int, int, int]


def compile_model(request: CompileRequest, say: Say) -> list[Compiled]:
    """Make the files, and say for each the command and the hash. Raises ModelError or ConfigError."""
    spec = _check_options(request)
    atc = None if request.is_simulated else _atc_or_error()
    source = _inspect(request, atc if isinstance(atc, Atc) else None, say)
    if isinstance(atc, ConfigError):
        raise atc
    if spec is not None and source.image != (3, spec.crop, spec.crop):
        raise ConfigError(
            f"--aipp with preset {request.aipp} delivers 3 x {spec.crop} x {spec.crop}, "
            f"{source.path} takes {' x '.join(map(str, source.image))}"
        )
    prefix = _prefix(request)
    groups = [request.batches] if request.is_dynamic else [(batch,) for batch in request.batches]
    made = []
    for batches in groups:
        target = Target(
            source.input_name,
            source.image,
            batches,
            request.soc,
            request.is_dynamic,
            request.is_fp16_input,
            spec is not None,
            request.more,
        )
        om = prefix.with_name(f"{prefix.name}{target.suffix}.om")
        compiled = (
            _simulate(source, target, spec, om) if atc is None else _compile(atc, source, (target, spec), om, say)
        )
        made.append(compiled)
        mark = " SIMULATED" if atc is None else f" ({compiled.origin})"
        say(f"{om}: {om.stat().st_size / MIB:.1f} MiB, sha256 {compiled.sha256[:16]}{mark}")
    return made


def _check_options(request: CompileRequest) -> PreprocessSpec | None:
    """The preset for AIPP. Raises ConfigError for options that contradict each other."""
    if request.aipp is not None and request.is_fp16_input:
        raise ConfigError("--aipp takes uint8 images and --fp16-input takes float16: choose one of them")
    return find_preset(request.aipp) if request.aipp is not None else None


def _atc_or_error() -> Atc | ConfigError:
    """The compiler, or why there is none: the model is judged first, with or without one."""
    try:
        return find_atc()
    except ConfigError as error:
        return error


def _prefix(request: CompileRequest) -> Path:
    if request.prefix is None:
        marks = ("_aipp" if request.aipp else "") + ("_fp16" if request.is_fp16_input else "")
        return Path(request.onnx.stem + marks)
    prefix = request.prefix.with_suffix("") if request.prefix.suffix == ".om" else request.prefix
    if not prefix.absolute().parent.is_dir():
        raise ConfigError(f"-o {request.prefix}: there is no folder {prefix.absolute().parent}")
    return prefix


def _inspect(request: CompileRequest, atc: Atc | None, say: Say) -> _Source:
    """Read the model and judge it before atc does. Raises ModelError with what is wrong."""
    path = request.onnx
    digest = sha256_of(path)
    model = _load(path)
    name, image = _image_input(path, model, request)
    if not request.is_unchecked:
        findings = find_problems(model, atc.cann if atc else None)
        for warning in findings.warnings:
            say(f"note: {path}: {warning}")
        if findings.errors:
            raise ModelError(
                f"{path} cannot be compiled: {'; '.join(findings.errors)} (or leave it to atc: --unchecked)"
            )
    return _Source(path, digest, name, image)


def _load(path: Path) -> Any:
    import onnx

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(str(path))
    except OSError as error:
        raise ModelError(f"model {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf's DecodeError and onnx's ValidationError share no public base
        raise ModelError(f"{path} is no valid ONNX model: {' '.join(str(error).split())[:200]}") from error
    return model


def _image_input(path: Path, model: Any, request: CompileRequest) -> tuple[str, tuple[int, int, int]]:
    """Name and (channels, height, width) of the only input. Raises ModelError where atc would need to know more."""
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ModelError(f"{path} has {len(inputs)} inputs ({', '.join(v.name for v in inputs)}): needed one image")
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    name = inputs[0].name
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f"{path}: input {name} is {kind}, needed float (float16 on the chip: --fp16-input)")
    if len(dims) != 4 or dims[1] != 3 or min(dims[1:]) < 1:
        shown = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
        raise ModelError(f"{path}: input {name} has shape ({shown}), needed (N, 3, height, width) with fixed sizes")
    if dims[0] and (request.is_dynamic or request.batches != (dims[0],)):
        asked = ", ".join(map(str, request.batches))
        raise ModelError(
            f"{path} is fixed to batch {dims[0]}, {asked} was asked for: "
            "export it with a free batch, as engine export does"
        )
    return name, (dims[1], dims[2], dims[3])


def _compile(
    atc: Atc, source: _Source, target_and_spec: tuple[Target, PreprocessSpec | None], om: Path, say: Say
) -> Compiled:
    target, spec = target_and_spec
    config = aipp_config(spec) if spec else ""
    aipp = om.with_suffix(".aipp.cfg") if spec else None
    words = command(target, source.path, om, aipp)
    line = shell_line(words)
    say(line)
    if aipp:
        atomic_write(aipp, config.encode())
    key = {
        "schema": CACHE_SCHEMA,
        "model": source.sha256,
        "flags": flags(target),
        "aipp": config,
        "atc": atc.identity,
    }
    kept = cache_dir("atc") / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.om"
    digest = _from_cache(kept, om)
    if digest is not None:
        return Compiled(om, digest, target.batches, line, "cache")
    began_ns = time.perf_counter_ns()
    for note in run_atc(atc, words, om):
        say(f"note: {note}")
    digest = sha256_of(om)
    _keep(kept, om, {**key, "sha256": digest})
    say(f"compiled in {(time.perf_counter_ns() - began_ns) / 1e9:.1f} s")
    return Compiled(om, digest, target.batches, line, "atc")


def _from_cache(kept: Path, om: Path) -> str | None:
    """Put the kept file in place if it is there and undamaged; its hash, or None."""
    try:
        digest = str(json.loads(kept.with_suffix(".json").read_bytes())["sha256"])
        if hashlib.sha256(kept.read_bytes()).hexdigest() != digest:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not (om.is_file() and sha256_of(om) == digest):
        with atomic_path(om, kept.stat().st_size) as temporary:
            shutil.copyfile(kept, temporary)
    return digest


def _keep(kept: Path, om: Path, record: dict[str, object]) -> None:
    with atomic_path(kept, om.stat().st_size) as temporary:
        shutil.copyfile(om, temporary)
    atomic_write(kept.with_suffix(".json"), json.dumps(record, indent=1).encode())


def _simulate(source: _Source, target: Target, spec: PreprocessSpec | None, om: Path) -> Compiled:
    """A file for the simulator, which computes the model on this host."""
    from engine.pyacl_stubs.om import Aipp, OmError, OmVariant, build_om

    variant = OmVariant(
        gears=target.batches if target.is_dynamic else (),
        input_dtype="float16" if target.is_fp16_input else "float32",
    )
    if spec is not None:
        minimum, var_reci = aipp_numbers(spec)
        variant = replace(variant, aipp=Aipp(minimum=minimum, var_reci=var_reci))
    try:
        with atomic_path(om) as temporary:
            build_om(source.path, temporary, max(target.batches), target.soc, source.image, variant=variant)
    except OmError as error:
        raise ModelError(str(error)) from error
    return Compiled(om, sha256_of(om), target.batches, "", "simulated")
