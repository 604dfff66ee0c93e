"""What the engine asks of a source of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy.typing as npt

from engine.names import NameTable
from kernels.spec import PreprocessSpec, TensorFormat

Array = npt.NDArray[Any]


class Source(Protocol):
    """Reads samples in one decoder process. Both calls raise ImageError: that sample is FAILED with its text.

    `read` waits for the disk, `write` computes: their times are the stages read and decode.
    """

    @property
    def resample_ns(self) -> int:
        """Of the last `write`: resize, crop and normalise, which is a stage of its own; 0 where none of it is done."""

    def expect(self, samples: Sequence[int]) -> None:
        """The next reads are of these samples, in this order: have the disk begin. Without a call nothing is lost."""

    def read(self, sample: int) -> Any:
        """The sample's bytes as they are stored; valid until the next `read`."""

    def write(self, data: Any, row: Array) -> str:
        """Make the sample's input from what `read` gave; returns by which path, as run.json counts them.

        row : an array of the tensor format, C-contiguous, a view of a slot, overwritten; undefined after an ImageError
        """


class Store(Protocol):
    """How the samples of a data set are stored. Small and picklable: it travels to each decoder."""

    plural: ClassVar[str]  # what messages call the samples
    is_cut_at_first_dot: ClassVar[bool]  # its names are the guide's: labels are looked up by `sample_key`

    def check(self, names: NameTable, spec: PreprocessSpec) -> None:
        """DataError if the samples cannot be what the preset makes. In the hub, before any process is started."""

    def open(self, names: NameTable, spec: PreprocessSpec, tensor: TensorFormat) -> Source:
        """The source, in the decoder's process, of rows in this format."""
