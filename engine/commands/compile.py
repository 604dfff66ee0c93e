"""`engine compile`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.commands.options import PATH
from engine.terminal import say


@click.command()
@click.argument("onnx", type=PATH)
@click.option("--batch", default="1,4,8,16,32", show_default=True, help="Batch sizes, one .om for each.")
@click.option("--soc", default="Ascend310", show_default=True, help="Chip: Ascend310, Ascend310P3 ...")
@click.option("--dynamic-batch", is_flag=True, help="One .om that takes each of the batch sizes.")
@click.option("--aipp", is_flag=True, help="Take uint8 RGB images and normalise them on the chip.")
@click.option("--preset", default="resnet", show_default=True, help="Whose mean and std --aipp applies.")
@click.option("--fp16-input", is_flag=True, help="Take float16 images: half the bytes to copy.")
@click.option("-o", "--output", type=PATH, help="PREFIX of PREFIX_bs<N>.om.  [default: the model's name]")
@click.option("--atc-option", multiple=True, help="Another option for atc, such as --auto_tune_mode=RL,GA; repeatable.")
@click.option("--unchecked", is_flag=True, help="Leave it to atc to judge opset and operators.")
@click.option("--simulate", is_flag=True, help="Make files for the simulator of pyACL; needs no atc.")
def command(
    onnx: Path,
    batch: str,
    soc: str,
    dynamic_batch: bool,
    aipp: bool,
    preset: str,
    fp16_input: bool,
    output: Path | None,
    atc_option: tuple[str, ...],
    unchecked: bool,
    simulate: bool,
) -> None:
    """Compile an ONNX for the chips with CANN's atc (guide: 3.2).

    Prints each atc command as it is run. Opset and operators are checked first; the .om itself decides whether it
    worked. The same model, flags and atc are not compiled twice.

    \b
    engine compile resnext101_32x8d.onnx --batch 1,4,8,16,32
    engine compile resnext101_32x8d.onnx --batch 16 --simulate
    """
    from engine.purebench_models import parse_batches
    from engine.toolchain.compile import CompileRequest, compile_model

    request = CompileRequest(
        onnx,
        parse_batches(batch),
        output,
        soc,
        dynamic_batch,
        preset if aipp else None,
        fp16_input,
        simulate,
        unchecked,
        atc_option,
    )
    compile_model(request, say)
