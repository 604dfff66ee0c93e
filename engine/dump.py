"""Output files of the old tools: one per image, ``dumpOutput_device<D>/<stem>_1.<txt|bin|npy>``."""

from __future__ import annotations

import glob
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import DataError, ResourceError
from engine.leftovers import DUMPS, remove_dumps
from engine.names import NameTable

#: 9 significant digits bring back every float32 exactly.
TXT_FORMAT = "%.9g"
#: The old tool counts outputs from 1.
OUTPUT_NUMBER = 1


class Dump:
    """Writes the scores of each image of the first pass."""

    def __init__(self, out: Path, names: NameTable, kind: str, is_continued: bool = False) -> None:
        """is_continued : the folders hold files of an earlier part of this run, which stay"""
        self._out = out
        self._names = names
        self._kind = kind
        self._is_continued = is_continued
        self._folders: dict[int, Path] = {}
        if not is_continued:
            remove_dumps(out)
        stems: set[str] = set()
        for sample in range(len(names)):
            stem = Path(names.name(sample)).stem
            if stem in stems:
                raise DataError(f"--dump writes one file per image, but several are called {stem}")
            stems.add(stem)

    def __call__(self, rows: npt.NDArray[np.float32], samples: list[int], device: int) -> None:
        """rows : (n, n_classes) float32, the scores of these samples, computed by this device."""
        folder = self._folder(device)
        for row, sample in zip(rows, samples, strict=True):
            path = folder / f"{Path(self._names.name(sample)).stem}_{OUTPUT_NUMBER}.{self._kind}"
            try:
                if (
                    self._is_continued
                ):  # the earlier part wrote it from another device, but was cut off before it was sure
                    for other in self._out.glob(f"{DUMPS}/{glob.escape(path.name)}"):
                        other.unlink()
                self._write(path, row)
            except OSError as error:
                path.unlink(missing_ok=True)  # half of a file would count as a whole one
                raise ResourceError(f"dump {path} cannot be written: {error.strerror}") from error

    def _write(self, path: Path, row: npt.NDArray[np.float32]) -> None:
        if self._kind == "txt":
            path.write_text(" ".join([TXT_FORMAT] * len(row)) % tuple(row.tolist()) + "\n")
        elif self._kind == "bin":
            path.write_bytes(row.astype("<f4").tobytes())
        else:
            np.save(path, row)

    def _folder(self, device: int) -> Path:
        if device not in self._folders:
            self._folders[device] = self._out / f"dumpOutput_device{device}"
            self._folders[device].mkdir(parents=True, exist_ok=True)
        return self._folders[device]
