"""Where compiled kernels are kept.

numba's own choice of folder has traps: its key ignores our instruction-set switch and NUMBA_BOUNDSCHECK, and it does
not notice when a *called* module changes. So the folder's name carries all of it:
``<user cache>/kernels/<instruction set>-<digest>``.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config
from platformdirs import user_cache_dir

_config: Any = config  # numba sets its attributes at run time

#: Set this to move the cache; numba's own variable works as well.
FOLDER_VARIABLES = ("ENGINE_KERNEL_CACHE", "NUMBA_CACHE_DIR")


@cache
def cache_folder(instruction_set: str) -> str:
    """The first writable folder for this instruction set and these sources; the same in every process of a run."""
    name = f"{instruction_set}-{sources_digest()}" + ("-checked" if _config.BOUNDSCHECK else "")
    for base in _bases():
        folder = base / name
        if _is_writable(folder):
            return str(folder)
    return tempfile.mkdtemp(prefix="engine-kernels-")  # every process compiles for itself: slow, but right


def why_elsewhere(instruction_set: str) -> str | None:
    """One line where the folder that comes first cannot be written, so that the kernels are kept elsewhere."""
    first, folder = next(_bases()), Path(cache_folder(instruction_set))
    if folder.parent == first:
        return None
    return f"compiled kernels cannot be kept in {first}: using {folder.parent} instead"


def sources_digest() -> str:
    """12 hexadecimal digits over numba's version and every source file of this package."""
    digest = hashlib.sha256(numba.__version__.encode())
    package = Path(__file__).parent
    for source in sorted(package.rglob("*.py")):
        digest.update(str(source.relative_to(package)).encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _bases() -> Iterator[Path]:
    """Folders to try in turn; the temporary one is made only where it is asked for."""
    yield from (Path(os.environ[name]) for name in FOLDER_VARIABLES if os.environ.get(name))
    yield Path(user_cache_dir("engine")) / "kernels"
    temporary = Path(tempfile.gettempdir()) / f"engine-kernels-{os.getuid()}"
    if _is_writable(temporary):  # made with mode 700, or not used
        yield temporary


def _is_writable(folder: Path) -> bool:
    """True if the folder exists or can be made, is ours and can be written.

    It must be ours because it holds machine code that we run: in /tmp another user could have put it there.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return False
    return folder.stat().st_uid == os.getuid()
