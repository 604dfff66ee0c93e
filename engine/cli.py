"""The command line: finds commands by name and turns every error into one line and an exit code.

A command's file is imported when it is called, and imports the engine inside its function: child processes import this
module too.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

import click

from engine import __version__
from engine.errors import EXIT_INTERRUPTED, EngineError, ResourceError
from engine.terminal import ignore_signals, interrupt_on_signals, open_standard_streams, say, warn

#: As the help lists them.
SECTIONS = {
    "Evaluate": ("run", "demo", "verify", "check-data", "doctor"),
    "The guide, step by step": (
        "certify",
        "export",
        "compile",
        "preprocess",
        "info",
        "bench",
        "score",
        "compare",
        "profile",
        "guide-scripts",
    ),
    "Wrong or slow": ("diagnose", "parity", "sweep", "perf", "report"),
}
COMMANDS = tuple(name for names in SECTIONS.values() for name in names)


class Commands(click.Group):
    """The files of `engine/commands`; suggests the nearest command for a typo, as click does for options."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"engine.commands.{cmd_name.replace('-', '_')}").command
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One list per section, all with the same columns."""
        widest = max(map(len, COMMANDS))
        limit = formatter.width - 6 - widest
        for title, names in SECTIONS.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            rows = [
                (name.ljust(widest), command.get_short_help_str(limit)) for name, command in commands.items() if command
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from engine.suggest import unknown

            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="engine")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Evaluate image classifiers on Ascend 310 chips: JPEG files in, Top-1..Top-5 and an honest throughput out."""
    if ctx.invoked_subcommand is None:
        say(ctx.get_help())


def main() -> None:
    """Entry point."""
    try:
        open_standard_streams()
        interrupt_on_signals()
        reported(lambda: cli.main(standalone_mode=False))
    except KeyboardInterrupt:  # another one while the first was reported
        ignore_signals()
        sys.exit(EXIT_INTERRUPTED)
    finally:
        ignore_signals()  # all is said and written: a late signal must not change the exit code


def reported(call: Callable[[], object]) -> None:
    """Call it; every error of ours is one line on standard error and its own exit code."""
    try:
        call()
    except EngineError as error:
        one_line = " ".join(str(error).split())
        warn(f"engine: {one_line}")
        sys.exit(error.exit_code)
    except click.UsageError as error:
        warn(f"engine: {' '.join(error.format_message().split())}")
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MemoryError:
        warn("engine: out of memory: lower --slots, --batch or --workers, or raise the limit (ulimit -v)")
        sys.exit(ResourceError.exit_code)
    except OSError as error:
        from engine.files import DISK_FAILED, NO_SPACE

        if error.errno in NO_SPACE:
            warn(f"engine: {error.strerror} while writing: make room or choose another --out")
        elif error.errno in DISK_FAILED:
            warn(f"engine: {error.filename or 'a file'}: {error.strerror}: its disk or mount fails, use another one")
        else:
            raise
        sys.exit(ResourceError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        warn("engine: interrupted")
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
