"""``python -m engine.pyacl_stubs.om``: make simulated .om files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from engine.errors import EngineError
from engine.presets import find_preset
from engine.pyacl_stubs.om import Aipp, OmError, OmVariant, build_om
from engine.pyacl_stubs.profile import load_profile, profile_names
from engine.suggest import did_you_mean


@click.command()
@click.argument("model")
@click.option("--batch", default="1", show_default=True, help="Batch sizes, e.g. 1,4,16: one file each.")
@click.option("--dynamic-batch", is_flag=True, help="One file with all batch sizes.")
@click.option("--aipp", is_flag=True, help="uint8 NHWC input, normalised on the chip.")
@click.option(
    "--preset", default="resnet", show_default=True, help="Side of the image, and the normalisation of --aipp."
)
@click.option("--classes", default=1000, show_default=True, help="Of the fingerprint.")
@click.option("--fp16-input", is_flag=True, help="float16 input.")
@click.option("--fp16-output", is_flag=True, help="float16 output.")
@click.option("--soc", default="Ascend310", show_default=True, help="Chip that it is for.")
@click.option("--profile", default="", help="Rates that go with the model; default: the simulator's setting.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .om to write.")
def main(
    model: str,
    batch: str,
    dynamic_batch: bool,
    aipp: bool,
    preset: str,
    classes: int,
    fp16_input: bool,
    fp16_output: bool,
    soc: str,
    profile: str,
    output: Path,
) -> None:
    """Make a simulated .om of MODEL: "fingerprint", or the path of an ONNX file.

    Where several static batch sizes are asked for, X.om becomes X_bs1.om, X_bs4.om ...
    """
    try:
        batches = _batches(batch)
        _check_soc(soc, profile)
        if aipp and fp16_input:
            raise OmError("--aipp takes uint8 pixels, --fp16-input takes float16 tensors: use one of them")
        variant = OmVariant(
            input_dtype="float16" if fp16_input else "",
            output_dtype="float16" if fp16_output else "",
            aipp=_aipp(preset) if aipp else None,
            profile=profile,
        )
        build = partial(build_om, model, soc=soc, image=_image(preset), n_classes=classes)
        _build_all(build, output, batches, dynamic_batch, variant)
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from None
    except (OmError, ValueError, EngineError) as error:
        raise click.ClickException(str(error)) from None


def _batches(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise OmError(f"--batch {text!r} is no list of batch sizes such as 1,4,16") from None


def _check_soc(soc: str, profile: str) -> None:
    """Raise OmError unless there are rates of such a chip: the profile that is given, or one that ships."""
    if profile:
        has = load_profile(profile).soc
        if has != soc:
            raise OmError(f"--profile {profile} has the rates of an {has}, --soc is {soc}: they must be the same")
        return
    known = sorted({load_profile(name).soc for name in profile_names()})
    if soc not in known:
        raise OmError(
            f"no profile simulates an {soc}{did_you_mean(soc, known) or ';'} known: {', '.join(known)}, "
            "another needs --profile FILE.toml"
        )


def _aipp(preset: str) -> Aipp:
    spec = find_preset(preset)
    return Aipp.of(spec.mean, spec.std)


def _image(preset: str) -> tuple[int, int, int]:
    side = find_preset(preset).crop
    return 3, side, side


def _build_all(
    build: Callable[..., None], output: Path, batches: list[int], is_dynamic: bool, variant: OmVariant
) -> None:
    if is_dynamic:
        build(output, max(batches), variant=replace(variant, gears=tuple(batches)))
        click.echo(output)
        return
    for size in batches:
        path = output.with_name(f"{output.stem}_bs{size}{output.suffix}") if len(batches) > 1 else output
        build(path, size, variant=variant)
        click.echo(path)
