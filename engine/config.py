"""What a run is asked to do: options from the command line over a TOML file, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.files import parse_toml
from engine.suggest import unknown

BACKENDS = ("cann", "null", "onnxruntime", "sim")
START_METHODS = ("forkserver", "spawn")
DUMP_FORMATS = ("txt", "bin", "npy")
#: Chips of one simulated Atlas 300I card.
SIMULATED_CHIPS = 4
DEFAULT_PROFILE = "resnext101_32x8d-310"
#: What MLPerf Inference asks of a valid offline result: this long, and this many samples (inference_policies, 2024).
PUBLISH_SECONDS = 600
PUBLISH_IMAGES = 24_576
#: As --profile: the same as --publish, with the default rates where chips are simulated.
PUBLISH = "publish"
#: Device ids of pyACL's tools end there (msame, ais_bench: 0..255).
MAX_DEVICE = 255


@dataclass(frozen=True)
class RunConfig:
    """One run. None stands for 'choose for me'; `engine.run` writes what was chosen to run.json."""

    data: Path
    labels: Path | None = None
    model: str = "lite0"
    backend: str = "sim"
    devices: tuple[int, ...] = (0,)
    batch: int = 16
    workers: int | None = None
    preset: str = "resnet"
    exif_rotate: bool = False
    window: int | None = None
    slots: int | None = None
    feeders: int = 1
    sim_chips: int = SIMULATED_CHIPS
    sim_faults: str = ""
    sim_slow: str = ""
    limit: int | None = None
    repeat: int = 1
    min_duration: float = 0.0
    min_images: int = 0
    publish: bool = False
    inject: str = ""
    trace: Path | None = None
    out: Path = Path("result")
    dump: str | None = None
    measure_ceiling: bool = False
    start_method: str = "forkserver"
    profile: str = DEFAULT_PROFILE
    label_offset: int | None = None
    max_failed_percent: float = 1.0
    journal: bool = True
    resume: bool = False
    stall_timeout: float = 60.0
    image_timeout: float = 20.0
    no_labels: bool = False


def for_publishing(config: RunConfig) -> RunConfig:
    """The run made as long as a figure for publication must be. ``--profile publish`` asks for it, too."""
    return replace(
        config,
        publish=True,
        profile=DEFAULT_PROFILE if config.profile == PUBLISH else config.profile,
        min_duration=max(config.min_duration, PUBLISH_SECONDS),
        min_images=max(config.min_images, PUBLISH_IMAGES),
    )


def parse_devices(text: str) -> tuple[int, ...]:
    """Device ids from ``0-3``, ``0,2`` or ``1``, sorted; ConfigError for anything else."""
    ids: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not text.isascii() or not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"--devices {text!r} is no list of devices: needed something like 0-3, 0,2 or 1")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ConfigError(f"--devices {text!r}: the range {part.strip()} ends before it begins")
        if high > MAX_DEVICE:
            raise ConfigError(f"--devices {text!r}: device {high} is above {MAX_DEVICE}, the highest id there can be")
        ids += range(low, high + 1)
    if len(set(ids)) != len(ids):
        raise ConfigError(f"--devices {text!r} names device {max(ids, key=ids.count)} twice")
    return tuple(sorted(ids))


def choose_backend(name: str) -> str:
    """`name`, or for ``auto`` cann where `import acl` works and else sim."""
    if name == "auto":
        return "cann" if _acl_works() else "sim"
    if name not in BACKENDS:
        raise unknown("backend", name, (*BACKENDS, "auto"))
    if name == "cann" and not _acl_works():
        raise ConfigError(
            "backend cann needs the vendor's pyACL but `import acl` fails here: source CANN's set_env.sh "
            "(such as /usr/local/Ascend/ascend-toolkit/set_env.sh), or use --backend sim"
        )
    return name


def _acl_works() -> bool:
    try:
        import acl  # noqa: F401
    except ImportError:
        return False
    return True


def read_config_file(path: Path, known: set[str]) -> dict[str, Any]:
    """Options in a TOML file, by their names on the command line (``--start-method`` is ``start_method``)."""
    try:
        options = parse_toml(path)
    except FileNotFoundError:
        raise ConfigError(f"no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"configuration file {path} is no TOML: {error}") from error
    options = {name.replace("-", "_"): value for name, value in options.items()}
    for name, value in options.items():
        if name not in known:
            raise unknown(f"option in {path}:", name, known)
        if isinstance(value, (dict, list)):
            raise ConfigError(f"option {name} in {path} needs one value, got a {type(value).__name__}")
    return options
