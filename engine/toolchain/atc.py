"""The vendor's compiler: where it is, which version, its command lines, and one run of it.

Flags as the guide and the ModelZoo's scripts use them. The exit status decides nothing: what counts is that the file
is there, newly written and not empty.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError, ModelError
from engine.models import sha256_of
from engine.toolchain.atc_support import Version, parse_version
from kernels.spec import PreprocessSpec

ONNX_FRAMEWORK = 5
#: Files in which CANN's packages tell their version, in atc's folder or up to so many above it.
VERSION_FILES = ("version.info", "version.cfg", "ascend_toolkit_install.info", "compiler/version.info")
VERSION_LEVELS = 5
#: Written as the guide writes them.
_QUOTED = ("--input_shape", "--dynamic_batch_size", "--input_fp16_nodes")
#: Of a failed compilation this many characters are told; the log has the rest.
TOLD_CHARACTERS = 200


@dataclass(frozen=True)
class Atc:
    """A compiler that was found. identity : changes whenever other files could come out of it"""

    path: Path
    version: str
    identity: str

    @property
    def cann(self) -> Version | None:
        return parse_version(self.version)


@dataclass(frozen=True)
class Target:
    """What one .om is for.

    image : (channels, height, width)        batches : one, or the gears of a dynamic batch
    """

    input_name: str
    image: tuple[int, int, int]
    batches: tuple[int, ...]
    soc: str = "Ascend310"
    is_dynamic: bool = False
    is_fp16_input: bool = False
    has_aipp: bool = False
    more: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """What the guide appends to the name of the model: ``_bs16``."""
        return "_dynamic" if self.is_dynamic else f"_bs{self.batches[0]}"


def find_atc() -> Atc:
    """The `atc` on PATH. Raises ConfigError where there is none."""
    found = shutil.which("atc")
    if found is None:
        raise ConfigError(
            "no atc on PATH, CANN's compiler: source its set_env.sh "
            "(such as /usr/local/Ascend/ascend-toolkit/set_env.sh), or make simulated files with --simulate"
        )
    path = Path(found).resolve()
    version = _version_near(path)
    opp = _version_in(Path(os.environ.get("ASCEND_OPP_PATH", "/nonexistent")) / "version.info")
    return Atc(
        Path(found).absolute(), version, f"{version or 'unknown'} opp {opp or 'unknown'} atc {sha256_of(path)[:16]}"
    )


def flags(target: Target) -> list[str]:
    """What decides the content of the .om, beside the model and the AIPP file."""
    batch = -1 if target.is_dynamic else target.batches[0]
    dims = ",".join(map(str, (batch, *target.image)))
    made = [
        f"--framework={ONNX_FRAMEWORK}",
        "--input_format=NCHW",
        f"--input_shape={target.input_name}:{dims}",
        f"--soc_version={target.soc}",
    ]
    if target.is_dynamic:
        made.append(f"--dynamic_batch_size={','.join(map(str, target.batches))}")
    if target.is_fp16_input:
        made.append(f"--input_fp16_nodes={target.input_name}")
    if target.has_aipp:
        made.append("--enable_small_channel=1")
    return [*made, *target.more]


def command(target: Target, onnx: Path, om: Path, aipp: Path | None) -> list[str]:
    """The whole command; paths are absolute, so that it means the same in any folder."""
    first, *rest = flags(target)
    files = [f"--model={onnx.absolute()}", f"--output={om.absolute().with_suffix('')}"]
    more = [f"--insert_op_conf={aipp.absolute()}"] if aipp else []
    return ["atc", first, *files, *rest, *more, "--log=error"]


def shell_line(words: Sequence[str]) -> str:
    """The command as a line for a shell, quoted as the guide quotes it."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    name, equals, value = word.partition("=")
    if equals and name in _QUOTED and re.fullmatch(r"[\w:,.;/-]+", value):
        return f'{name}="{value}"'
    return shlex.quote(word)


def aipp_config(spec: PreprocessSpec) -> str:
    """The AIPP file that normalises uint8 RGB crops on the chip as `spec` does: (pixel - 255 mean) / (255 std)."""
    lines = [
        "aipp_op {",
        "    aipp_mode: static",
        "    related_input_rank: 0",
        "    input_format: RGB888_U8",
        f"    src_image_size_w: {spec.crop}",
        f"    src_image_size_h: {spec.crop}",
        "    crop: false",
        "    csc_switch: false",
        "    rbuv_swap_switch: false",
    ]
    minimum, var_reci = aipp_numbers(spec)
    for name, values in (("mean_chn", (0, 0, 0)), ("min_chn", minimum), ("var_reci_chn", var_reci)):
        lines += [f"    {name}_{channel}: {value:.12g}" for channel, value in enumerate(values)]
    return "\n".join([*lines, "}", ""])


def aipp_numbers(spec: PreprocessSpec) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(min_chn, var_reci_chn) of the three channels."""
    r, g, b = (255 * mean for mean in spec.mean)
    x, y, z = (1 / (255 * std) for std in spec.std)
    return (r, g, b), (x, y, z)


def run_atc(atc: Atc, words: Sequence[str], om: Path) -> list[str]:
    """Run the compiler; return what should be said about it. The .om that was there before comes back if it fails.

    Raises ModelError, with what atc said, where no file came out. The log stays beside the .om then.
    """
    log = om.with_suffix(".atc.log")
    with _set_aside(om), tempfile.TemporaryDirectory(prefix="engine-atc-") as folder:
        # A folder of its own: atc leaves kernel_meta and fusion_result.json where it runs.
        output = Path(folder) / "output"
        with output.open("wb") as file:
            status = _wait_for(atc, words, (folder, file.fileno()))
        if not om.is_file() or om.stat().st_size == 0:
            text = output.read_text(errors="replace")
            log.write_text(f"{shell_line(words)}\n{text}")
            raise ModelError(f"atc wrote no {om} (exit status {status}): {_reason(text)}; all that it said is in {log}")
    log.unlink(missing_ok=True)
    return [] if status == 0 else [f"atc ended with exit status {status} but wrote {om}: the file counts"]


def _wait_for(atc: Atc, words: Sequence[str], folder_and_output: tuple[str, int]) -> int:
    folder, output = folder_and_output
    try:
        process = subprocess.Popen(
            words,
            executable=atc.path,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise ConfigError(f"{atc.path} cannot be started: {error.strerror}") from error
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def _set_aside(om: Path) -> Iterator[None]:
    """Take an earlier file out of the way, so that it cannot pass for the new one; put it back on failure."""
    earlier = om.with_name(f".{om.name}.earlier")
    had_one = om.exists()
    if had_one:
        om.replace(earlier)
    try:
        yield
    except BaseException:
        om.unlink(missing_ok=True)
        if had_one:
            earlier.replace(om)
        raise
    earlier.unlink(missing_ok=True)


def _reason(text: str) -> str:
    """The line of atc's output that says most: one with an error code, else the last one."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    coded = [line for line in lines if re.search(r"\bE[0-9A-Z]\d{4}\b", line)]
    return (coded or lines[-1:] or ["it said nothing"])[0][:TOLD_CHARACTERS]


def _version_near(path: Path) -> str:
    for folder in list(path.parents)[:VERSION_LEVELS]:
        for name in VERSION_FILES:
            version = _version_in(folder / name)
            if version:
                return version
    return ""


def _version_in(path: Path) -> str:
    """The number behind ``version=`` or ``Version=`` of a file, "" where there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    found = re.search(r"(?im)^\s*(?:\w*_)?version\s*=\s*\W*([0-9][\w.]*)", text)
    return found[1] if found else ""
