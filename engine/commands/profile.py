"""`engine profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.options import PATH
from engine.terminal import say

if TYPE_CHECKING:
    from engine.opprofile import OpProfile

#: Rows of each table on the terminal; the CSV files have all.
MOST_SHOWN = 10


@click.command()
@click.option("--model", default="lite0", show_default=True, help="PATH.onnx, PATH.om or lite0.")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1, 1024), help="Images per inference.")
@click.option("--against", type=click.IntRange(1, 1024), help="Another batch size, to see which operators grow faster.")
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1), help="Measured inferences.")
@click.option("--warm-up", default=2, show_default=True, type=click.IntRange(0), help="Inferences before them.")
@click.option("--device", default=0, show_default=True, type=click.IntRange(0, 255), help="Chip, for a real .om.")
@click.option("--data", type=PATH, help="Images to run.  [default: JPEGs made here]")
@click.option("--preset", default="resnet", show_default=True, help="Preprocessing of the images.")
@click.option("--out", type=PATH, default=Path("profile"), show_default=True, help="Folder for the CSV files.")
def command(model: str, batch: int, against: int | None, out: Path, **options: Any) -> None:
    """Which operators take the time? (guide: 7)

    An .om made by atc is profiled on its chip by CANN's msprof (its command line is printed); an ONNX on this CPU by
    ONNX Runtime's profiler; a simulated .om as the ONNX inside it, on this CPU. A CPU's shares are not a chip's.

    Writes op_statistic_0_1.csv (by operator type) and op_summary_0_1.csv (every execution) as msprof names them.
    --against 16 compares the time per image with that of another batch size, type by type: what makes a cliff.

    \b
    engine profile --model resnext101_32x8d_bs32.om --batch 32 --against 16
    engine profile --model resnet50.onnx --batch 8
    """
    from engine.claim import make_out_folder

    make_out_folder(out)
    profile = _profile(model, batch, out, options)
    _tell(profile, out, options["rounds"])
    if against is not None:
        folder = out / f"batch{against}"
        make_out_folder(folder)
        _tell_growth(_profile(model, against, folder, options), profile, options["rounds"])


def _profile(model: str, batch: int, out: Path, options: dict[str, Any]) -> OpProfile:
    from engine.pyacl_stubs.om import VENDOR_MAGIC

    path = Path(model)
    if path.suffix == ".om" and path.is_file():
        with path.open("rb") as file:
            if file.read(len(VENDOR_MAGIC)) == VENDOR_MAGIC:
                return _on_chip(model, batch, out, options)
    return _on_cpu(model, batch, out, options)


def _on_chip(model: str, batch: int, out: Path, options: dict[str, Any]) -> OpProfile:
    import shutil

    from engine.opprofile import OpProfile
    from engine.opprofile_msprof import bench_command, read_statistic, run_msprof
    from engine.purebench_models import file_for

    application = bench_command(file_for(model, batch), batch, options["device"], options["rounds"])
    statistic, summary = run_msprof(application, out, say)
    shutil.copyfile(statistic, out / "op_statistic_0_1.csv")
    if summary is not None:
        shutil.copyfile(summary, out / "op_summary_0_1.csv")
    rows = read_statistic(statistic)
    return OpProfile(model, batch, f"msprof, chip {options['device']}", rows, [])


def _on_cpu(model: str, batch: int, out: Path, options: dict[str, Any]) -> OpProfile:
    import numpy as np

    from engine import host
    from engine.backends.onnxruntime import describe, open_session
    from engine.errors import ModelError
    from engine.onnx_source import onnx_of
    from engine.opprofile import OpProfile, statistics, write_csv
    from engine.opprofile_onnx import profile_onnx
    from engine.presets import find_preset
    from engine.sample_rows import input_rows

    spec = find_preset(options["preset"])
    source = onnx_of(model, spec.crop)
    if source.note:
        say(source.note)
    info = describe(open_session(str(source.path), 1), str(source.path), batch)
    if tuple(info.shape) != tuple(info.tensor.shape(spec.crop)):
        raise ModelError(f"{model} takes inputs of shape {list(info.shape)}: choose another --preset")
    inputs = input_rows("real", options["data"], spec, info.tensor, batch)
    rows = np.resize(inputs.rows, (batch, *inputs.rows.shape[1:]))
    records = profile_onnx(source.path, rows, options["rounds"], options["warm_up"], host.n_cores())
    write_csv(Path(model).stem, records, out)
    about = f"ONNX Runtime on this CPU ({host.cpu_model()}), input {inputs.about}"
    return OpProfile(model, batch, about, statistics(records), statistics(records, by_operator=True))


def _tell(profile: OpProfile, out: Path, rounds: int) -> None:
    from engine.opprofile import table

    say(f"{profile.model}, batch {profile.batch}, {rounds} inferences, {profile.about}")
    for rows in (profile.by_type, profile.by_operator):
        if rows:
            say("\n".join(table(rows, rounds, MOST_SHOWN)))
    say(f"all in {out / 'op_statistic_0_1.csv'} and {out / 'op_summary_0_1.csv'}")


def _tell_growth(small: OpProfile, large: OpProfile, rounds: int) -> None:
    from engine.opprofile import growth

    say(f"time per image at batch {large.batch} against batch {small.batch}, costliest growth first")
    for name, ms, factor in growth(small, large, rounds, rounds)[:MOST_SHOWN]:
        say(f"  {name:40} {ms:9.3f} ms/image  x {factor:.2f}")
