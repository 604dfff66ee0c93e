"""``python -m engine.pyacl_stubs [options] script.py args...``: run a pyACL script on the simulator, unchanged."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import click

from engine import pyacl_stubs
from engine.pyacl_stubs.settings import ENVIRONMENT_PREFIX, STRICTNESS, settings_from_environment

#: Exit status of --fail-on-report when strict mode has found something and the script itself ended well.
EXIT_REPORTS = 70


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--profile", help="Rates: a name of engine/pyacl_stubs/profiles, or a .toml file.")
@click.option("--devices", "n_devices", type=int, help="Number of chips.  [default: 4]")
@click.option("--strictness", type=click.Choice(STRICTNESS), help="[default: documented]")
@click.option("--faults", help="Fault script, see engine/pyacl_stubs/faults.py.")
@click.option("--fail-on-report", is_flag=True, help=f"Exit with {EXIT_REPORTS} when strict mode found something.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def main(script: str, args: tuple[str, ...], fail_on_report: bool, **options: str | int | None) -> None:
    """Run SCRIPT with `import acl` giving the simulated card; ENGINE_SIM_... in the environment set the rest."""
    os.environ.update({ENVIRONMENT_PREFIX + name.upper(): str(v) for name, v in options.items() if v is not None})
    try:
        pyacl_stubs.configure(settings_from_environment())
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    pyacl_stubs.install()
    _install_in_children()
    sys.argv = [script, *args]
    sys.path.insert(0, str(Path(script).resolve().parent))
    runpy.run_path(script, run_name="__main__")
    reports = pyacl_stubs.reports()
    if reports:
        click.echo(f"acl simulator: {len(reports)} reports", err=True)
        if fail_on_report:
            sys.exit(EXIT_REPORTS)


def _install_in_children() -> None:
    """Let processes that the script starts find the simulator too, whatever their start method."""
    package = Path(pyacl_stubs.__file__).parent
    paths = [str(package / "importable"), str(package.parents[1]), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    sys.path.insert(0, paths[0])


if __name__ == "__main__":
    main()
