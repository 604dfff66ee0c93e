"""`engine certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.commands.options import PATH
from engine.config import DEFAULT_PROFILE
from engine.terminal import say


@click.command()
@click.option("--weights", type=PATH, help="The .pth to certify (or give --model).")
@click.option("--net", help="Which net the weights are of.  [default: by their shapes]")
@click.option("--model", help="lite0, or PATH.onnx, instead of --weights.")
@click.option("--data", type=PATH, required=True, help="Folder of images, or any other --data of engine run.")
@click.option("--labels", type=PATH, help="Label file; not needed for class folders.")
@click.option("--backend", default="auto", show_default=True, help="auto, cann, sim or onnxruntime.")
@click.option("--devices", help="Such as 0-3, 0,2 or 1.  [default: 0-3 on sim, else 0]")
@click.option("--run-batch", default="1,16", show_default=True, help="Batch sizes of the runs over all images.")
@click.option("--batch", default="1,4,8,16,32", show_default=True, help="Batch sizes of pure inference.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help="Batches per chip, pure inference.  [default: 20; 5 on sim, whose times are the profile's]",
)
@click.option("--preset", default="resnet", show_default=True, help="Preprocessing of the images.")
@click.option("--soc", default="Ascend310", show_default=True, help="Chip to compile for.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Rates of the simulated chips.")
@click.option("--reference", help="Published accuracy by name, or another run's folder.  [default: the net's own]")
@click.option("--top1", type=float, help="Reference Top-1 in percent.")
@click.option("--top5", type=float, help="Reference Top-5 in percent.")
@click.option("--points", default=1.0, show_default=True, type=click.FloatRange(0, 100), help="Absolute gate: points.")
@click.option(
    "--relative", default=99.0, show_default=True, type=click.FloatRange(0, 100), help="Relative gate: percent."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N images.")
@click.option("--out", type=PATH, default=Path("certificate"), show_default=True, help="Folder for everything.")
def command(**options: Any) -> None:
    """Do the whole guide in one go, and write a certificate.

    Steps: export, compile, run, score, compare, pure inference.

    Ends in certificate.md, readable on paper, and certificate.json: hashes of everything, accuracy and its gates, rates
    of all chips at once. Interrupted or killed, the same command goes on with the step it was in. What is SIMULATED is
    said.

    Exit code: 0 done; 11 accuracy not met; 12 undecided, where --reference or --top1 was given. The certificate is
    written in any case.

    \b
    engine certify --weights FILE.pth --data val --labels val_label.txt
    engine certify --model lite0 --data val --labels val_label.txt --backend sim
    """
    from engine.accuracy.compare import Gate
    from engine.certify import CertifyRequest, certify, raise_for_verdict
    from engine.config import choose_backend, parse_devices
    from engine.purebench_models import parse_batches

    backend = choose_backend(options.pop("backend"))
    devices = parse_devices(options.pop("devices") or ("0-3" if backend == "sim" else "0"))
    gate = Gate(options.pop("points"), options.pop("relative"))
    rounds = options.pop("rounds") or (5 if backend == "sim" else 20)
    batches, run_batches = parse_batches(options.pop("batch")), parse_batches(options.pop("run_batch"))
    request = CertifyRequest(
        backend=backend,
        devices=devices,
        gate=gate,
        batches=batches,
        run_batches=run_batches,
        rounds=rounds,
        **options,
    )
    document = certify(request, say)
    say(f"accuracy {document['compare']['verdict']}; certificate in {request.out / 'certificate.md'}")
    raise_for_verdict(document)
