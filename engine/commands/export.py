"""`engine export`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.commands.options import PATH
from engine.terminal import say


@click.command()
@click.argument("name")
@click.option("--weights", type=PATH, help="The .pth (a state dict, legacy or zip format); lite0 brings its own.")
@click.option("-o", "--output", type=PATH, required=True, help="The .onnx to write.")
@click.option("--opset", default=11, show_default=True, type=click.IntRange(11, 17), help="What atc takes is 11.")
@click.option("--size", type=click.IntRange(32, 1024), help="Side of the images.  [default: the net's own, mostly 224]")
def command(name: str, weights: Path | None, output: Path, opset: int, size: int | None) -> None:
    """Convert trained weights to ONNX (guide: 3.1).

    NAME is a classifier of torchvision. Written without torch: resnet18, resnet34, resnet50, resnet101, resnet152,
    resnext50_32x4d, resnext101_32x8d, resnext101_64x4d, wide_resnet50_2, wide_resnet101_2, and efficientnet_lite0 to 4
    (lite0 for short). Others need torch and torchvision. Input `image` (N, 3, 224, 224) float32 as the resnet preset
    delivers it, output `class` (N, 1000) float32. Code inside the .pth is never executed.

    \b
    engine export resnext101_32x8d --weights FILE.pth -o resnext101_32x8d.onnx
    engine export lite0 -o lite0.onnx
    """
    from engine.toolchain.export import ExportRequest, export_model

    export_model(ExportRequest(name, weights, output, opset, size), say)
