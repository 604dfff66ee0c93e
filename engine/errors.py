"""Every error that a user can meet, by remedy.

    EngineError                    exit code
    ├── ConfigError          2     an option, a configuration file: change the command
    ├── DataError            3     the images or labels: change the data
    ├── ModelError           4     the model file: change the model
    ├── DeviceError          5     a chip or its driver
    ├── ResourceError        6     memory, disk, file descriptors: lower a size
    ├── WorkerError          7     a process of ours died more often than it may
    ├── TooManyFailures      8     more images failed than are tolerated; the results are written
    ├── MismatchError        9     predictions that must be equal are not
    ├── DumpError           10     outputs of images are missing, one too many or unreadable: run those images again
    ├── GateError           11     an accuracy or a difference is outside its gate
    ├── InconclusiveError   12     the images are too few to decide a gate
    ├── InUseError          13     another run writes into the same folder
    ├── ChipLostError       14     a chip was lost and the others did its work; the results are complete
    ├── StallError          15     nothing moved for too long; the run can be resumed
    ├── PerfError           16     a perf log, a sweep or a page: the log or what is looked for in it cannot be used
    └── InterruptedRun     130     ended by a signal; what is complete stays

An interrupted run exits with 130, an unexpected exception with 1.
Messages are one line: what, where, what was needed, what to do.
"""

from __future__ import annotations

EXIT_INTERRUPTED = 130


class EngineError(Exception):
    """Base of all errors that are reported to the user as one line."""

    exit_code = 1


class InterruptedRun(EngineError):
    """Ended by a signal; what is complete stays."""

    exit_code = EXIT_INTERRUPTED


class ConfigError(EngineError):
    """An option or configuration file that cannot be used."""

    exit_code = 2


class DataError(EngineError):
    """Images or labels that cannot be used."""

    exit_code = 3


class ModelError(EngineError):
    """A model file that is no classifier, or not the one that the run asks for."""

    exit_code = 4


class DeviceError(EngineError):
    """A chip, its driver or its runtime reported an error.

    chip : device id        code : the runtime's return code, 0 where it has none
    remedy : "restart" where a new process may drive the chip again, "gone" where that cannot help
    """

    exit_code = 5

    def __init__(self, message: str, chip: int = -1, code: int = 0, remedy: str = "gone") -> None:
        super().__init__(message)
        self.remedy = remedy
        self.chip = chip
        self.code = code


class ResourceError(EngineError):
    """Not enough memory, disk or file descriptors."""

    exit_code = 6


class WorkerError(EngineError):
    """A process of the engine died more often than it may."""

    exit_code = 7


class TooManyFailures(EngineError):
    """More images failed than are tolerated."""

    exit_code = 8


class MismatchError(EngineError):
    """Predictions that must be equal are not."""

    exit_code = 9


class DumpError(EngineError):
    """Output files that are not exactly one per image."""

    exit_code = 10


class GateError(EngineError):
    """An accuracy or a difference is outside its gate."""

    exit_code = 11


class InconclusiveError(EngineError):
    """The images are too few to decide a gate."""

    exit_code = 12


class InUseError(EngineError):
    """Another run holds the folder."""

    exit_code = 13


class ChipLostError(EngineError):
    """A chip was lost during the run; the others did its work, so the results are complete."""

    exit_code = 14


class StallError(EngineError):
    """Nothing moved for too long; what was done is kept."""

    exit_code = 15


class PerfError(EngineError):
    """A perf log, a sweep or a page that cannot be used."""

    exit_code = 16
