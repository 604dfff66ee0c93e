"""The guide's scripts by their own names and positional arguments, each done by the command that takes its place.

python -m engine.toolchain.guide imagenet_torch_preprocess resnet SRC DST
"""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import engine
from engine.errors import ConfigError, ResourceError
from engine.files import atomic_path
from engine.suggest import unknown

#: First line of a script that we wrote, and may write again.
MARK = "# Written by engine guide-scripts."
SCRIPT = '''#!/usr/bin/env python3
{mark}
"""The guide's {name}.py: the same arguments, the same files, done by `engine {command}`."""
import os
import sys

PYTHON = {python!r}
{path}os.execv(PYTHON, [PYTHON, "-m", "engine.toolchain.guide", {name!r}] + sys.argv[1:])
'''


@dataclass(frozen=True)
class GuideScript:
    """One of the guide's scripts: the command that does it, its arguments and how many, and the command's words."""

    command: str
    usage: str
    n_arguments: tuple[int, ...]
    words: Callable[[Sequence[str]], list[str]]


def _info_words(given: Sequence[str]) -> list[str]:
    kind, folder, info, *size = given
    if (kind, len(size)) not in (("bin", 2), ("jpg", 0)):
        raise ConfigError(
            f"gen_dataset_info takes 'bin DIR INFO WIDTH HEIGHT' or 'jpg DIR INFO', got {shlex.join(given)}"
        )
    return [*(["--width", size[0], "--height", size[1]] if size else ["--type", "jpg"]), "--", folder, info]


SCRIPTS = {
    "imagenet_torch_preprocess": GuideScript(
        "preprocess", "MODEL SRC DST", (3,), lambda given: ["--preset", given[0], "--", *given[1:]]
    ),
    "gen_dataset_info": GuideScript("info", "bin DIR INFO WIDTH HEIGHT", (3, 5), _info_words),
    "imagenet_acc_eval": GuideScript(
        "score",
        "DUMP LABELS DIR JSON",
        (4,),
        lambda given: ["--out", os.path.join(given[2], given[3]), "--", *given[:2]],
    ),
    "resnext101_32x8d_pth2onnx": GuideScript(
        "export",
        "PTH ONNX",
        (2,),
        lambda given: ["--weights", given[0], "--output", given[1], "--", "resnext101_32x8d"],
    ),
}


def command_words(words: Sequence[str]) -> list[str]:
    """The words of the engine's command for a script's name and arguments. ConfigError for what is none."""
    if not words:
        raise ConfigError(f"which of the guide's scripts? give one of {', '.join(SCRIPTS)}, and its arguments")
    name = words[0].removesuffix(".py")
    if name not in SCRIPTS:
        raise unknown("script of the guide", words[0], SCRIPTS)
    script, given = SCRIPTS[name], words[1:]
    if len(given) not in script.n_arguments:
        raise ConfigError(f"{name} takes {script.usage}, got {len(given)} arguments: {shlex.join(given) or 'none'}")
    return [script.command, *script.words(given)]


def write_scripts(folder: Path, is_forced: bool) -> list[Path]:
    """Write the scripts into `folder`. ConfigError where a file of that name is not ours, unless `is_forced`."""
    paths = {name: folder / f"{name}.py" for name in SCRIPTS}
    foreign = [path for path in paths.values() if path.exists() and not _is_ours(path)]
    if foreign and not is_forced:
        raise ConfigError(
            f"{len(foreign)} files there are not ours, such as {foreign[0]}: choose another folder, or give --force"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            with atomic_path(path) as temporary:
                temporary.write_text(script_text(name))
                temporary.chmod(0o755)
    except OSError as error:
        raise ResourceError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return list(paths.values())


def script_text(name: str) -> str:
    """A script that any Python can start: it hands over to the one that has the engine."""
    root = str(Path(engine.__file__).resolve().parents[1])
    is_installed = root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    path = "" if is_installed else f'os.environ["PYTHONPATH"] = {root!r}\n'
    return SCRIPT.format(mark=MARK, name=name, command=SCRIPTS[name].command, python=sys.executable, path=path)


def _is_ours(path: Path) -> bool:
    try:
        return path.is_file() and MARK in path.read_text(errors="replace")[:200]
    except OSError:
        return False


def main() -> None:
    """Entry point: words of a script to words of a command."""
    from engine.cli import cli, reported

    reported(lambda: cli.main(command_words(sys.argv[1:]), prog_name="engine", standalone_mode=False))


if __name__ == "__main__":
    main()
