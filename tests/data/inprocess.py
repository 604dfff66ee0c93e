"""The command line without a new interpreter for each call: its children are still processes."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from engine import cli


def call_engine(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What `run_engine` gives, from a call of the entry point."""
    words = ["engine", *map(str, arguments)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
