"""Which file a backend loads for `--model`, and what the slow reference computes with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ConfigError, ModelError
from engine.files import atomic_path, cache_dir
from engine.suggest import unknown
from kernels.spec import PreprocessSpec

if TYPE_CHECKING:
    from engine.pyacl_stubs.om import Om

FINGERPRINT = "fingerprint"
LITE0 = "lite0"
BUILT_IN = (FINGERPRINT, LITE0)
N_CLASSES = 1000
#: An aipp.cfg has its numbers in some digits; normalised values, which span about -2 to 2.6, may differ by this.
AIPP_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Model:
    """A model for one backend.

    path      : what the backend loads        name : what the report calls it
    reference : the ONNX file that the slow path runs, or 'fingerprint'; None where only the device can run the model
    sha256    : of the file that the numbers come from (the ONNX where there is one)
    """

    name: str
    path: str
    reference: Path | str | None
    sha256: str


@dataclass(frozen=True)
class Target:
    """What the file must be made for: images per execution, side of the image, and the chip's soc on `sim`.

    spec : the run's preprocessing, which a model that normalises on the chip must agree with
    """

    batch: int
    side: int
    soc: str = ""
    spec: PreprocessSpec | None = None


def resolve_model(model: str, backend: str, target: Target) -> Model:
    """The file to load for this backend, made in the cache where need be; ModelError or ConfigError where none fits."""
    if backend == "null":
        return Model("null", "", None, "")
    source = _source(model)
    if isinstance(source, str):
        return _fingerprint(backend, target)
    digest = sha256_of(source)
    name = model if model in BUILT_IN else source.name
    if source.suffix == ".om":
        return _om(source, name, digest, backend, target)
    if backend == "onnxruntime":
        return Model(name, str(source), source, digest)
    if backend == "cann":
        raise ModelError(_compile_hint(source, target))
    return Model(name, str(_simulated(source, digest, target)), source, digest)


def is_computed_here(model: Model, backend: str) -> bool:
    """Whether the chips are simulated and their scores are computed by ONNX Runtime on this CPU."""
    return backend == "sim" and model.reference != FINGERPRINT


def simulated_soc(profile: str) -> str:
    """The chip that a rate profile simulates; ConfigError names the profiles that there are."""
    from engine.pyacl_stubs import ProfileError, load_profile, profile_names

    try:
        return load_profile(profile).soc
    except ProfileError as error:
        if profile.endswith(".toml"):
            raise ConfigError(str(error)) from error
        raise unknown("profile", profile, profile_names()) from error


def sha256_of(path: Path) -> str:
    """Hash of a file's content, in hexadecimal digits."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"model {path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _source(model: str) -> Path | str:
    """The model's own file, or 'fingerprint'."""
    if model == FINGERPRINT:
        return FINGERPRINT
    if model == LITE0:
        from engine.toolchain.zoo import lite0_onnx

        return lite0_onnx()
    path = Path(model)
    if path.suffix not in (".onnx", ".om"):
        if path.exists():
            raise ModelError(f"model {path} is neither .onnx nor .om: needed one of them, or {' or '.join(BUILT_IN)}")
        raise unknown("model", model, (*BUILT_IN, "PATH.onnx", "PATH.om"))
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    return path


def _fingerprint(backend: str, target: Target) -> Model:
    if backend != "sim":
        raise ModelError(f"model fingerprint is built into the simulator: use --backend sim, not {backend}")
    from engine.pyacl_stubs.om import build_om

    path = cache_dir("om") / f"fingerprint-{target.side}-{target.soc}-bs{target.batch}.om"
    image = (3, target.side, target.side)
    with atomic_path(path) as temporary:
        build_om(FINGERPRINT, temporary, target.batch, target.soc, image, N_CLASSES)
    return Model(FINGERPRINT, str(path), FINGERPRINT, sha256_of(path))


def _simulated(onnx: Path, digest: str, target: Target) -> Path:
    """A simulated .om around this ONNX, for this batch."""
    from engine.backends.onnxruntime import describe, open_session
    from engine.pyacl_stubs.om import build_om

    info = describe(open_session(str(onnx), 1), str(onnx), target.batch)
    path = cache_dir("om") / f"{onnx.stem}-{digest[:16]}-{target.soc}-bs{target.batch}.om"
    with atomic_path(path) as temporary:
        build_om(onnx, temporary, target.batch, target.soc, n_classes=info.n_classes)
    return path


def _om(path: Path, name: str, digest: str, backend: str, target: Target) -> Model:
    from engine.pyacl_stubs.om import OmError, read_om

    if backend == "onnxruntime":
        raise ModelError(f"{path} is for Ascend chips: ONNX Runtime needs the .onnx that it was compiled from")
    try:
        om = read_om(path)
    except OmError as error:
        if backend == "cann":
            return Model(name, str(path), None, digest)
        raise ModelError(f"the simulator cannot run {path}: {error}") from error
    if backend == "cann":
        raise ModelError(f"{path} is a simulated .om: a real chip needs one made by atc")
    _check_simulated(path, om, target)
    return Model(name, str(path), FINGERPRINT if om.kind == FINGERPRINT else None, digest)


def _check_simulated(path: Path, om: Om, target: Target) -> None:
    """ModelError unless the model is for this chip and normalises as the preset does."""
    if om.soc != target.soc:
        raise ModelError(
            f"{path} was made for {om.soc} but --profile simulates an {target.soc}: make it with --soc {target.soc}"
        )
    spec = target.spec
    if om.aipp is None or spec is None:
        return
    aipp = om.aipp
    if aipp.is_swapped:
        raise ModelError(f"{path} swaps red and blue on the chip (rbuv_swap_switch): needed RGB, as the presets make")
    for c, channel in enumerate("RGB"):
        offset, factor = aipp.mean[c] + aipp.minimum[c], aipp.var_reci[c]
        wanted_offset, wanted_factor = 255 * spec.mean[c], 1 / (255 * spec.std[c])
        # the largest difference that a pixel's normalised value can have
        if max(abs((v - offset) * factor - (v - wanted_offset) * wanted_factor) for v in (0, 255)) > AIPP_TOLERANCE:
            raise ModelError(
                f"{path} normalises {channel} as (v - {offset:g}) * {factor:.8g} on the chip but the preset as "
                f"(v - {wanted_offset:g}) * {wanted_factor:.8g}: use the preset that it was compiled for"
            )


def _compile_hint(onnx: Path, target: Target) -> str:
    return (
        f"a chip needs an .om, not {onnx}: make it with engine compile {onnx} --batch {target.batch} "
        f"and run with --model {onnx.stem}_bs{target.batch}.om"
    )
