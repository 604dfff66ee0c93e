"""All size arithmetic of the arena, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import ConfigError
from kernels.spec import FLOAT32_NCHW, TensorFormat

#: mmap works in pages; slots start on one so that a device can register or copy them without sharing a page.
PAGE_BYTES = 4096
MIB = 1 << 20
FLOAT32_BYTES = 4
#: Images that a slot of small batches carries at least: the hub's work per slot (about 100 us) stays near 25 us per
#: image. Only the last slots of a run carry fewer.
SMALL_SLOT_IMAGES = 4
#: Images for which a slot of small batches has rows; how many it gets is decided slot by slot (`fill_sizes`). Where the
#: host was the bound, the hub took 42-52 us per image with 8 and 24 us with 32.
LARGE_SLOT_IMAGES = 32


def round_up(n: int, multiple: int) -> int:
    """The least multiple of `multiple` that is not below `n`."""
    return -(-n // multiple) * multiple


@dataclass(frozen=True)
class ImageLayout:
    """One input image as the model takes it: a square of three channels, in the model's own tensor format."""

    side: int
    tensor: TensorFormat = FLOAT32_NCHW

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.tensor.shape(self.side)

    @property
    def n_bytes(self) -> int:
        return self.tensor.row_bytes(self.side)


@dataclass(frozen=True)
class ArenaLayout:
    """Sizes of the slot arena. A slot is `images_per_slot` inputs, then as many rows of `n_classes` float32 outputs."""

    n_slots: int
    images_per_slot: int
    image: ImageLayout
    n_classes: int

    def __post_init__(self) -> None:
        if self.n_slots < 2:
            raise ConfigError(
                f"the arena needs at least 2 slots to overlap decode and feed, got --slots {self.n_slots}"
            )

    @property
    def input_bytes(self) -> int:
        """Bytes of a slot's inputs, rounded up to whole pages: the outputs start there."""
        return round_up(self.images_per_slot * self.image.n_bytes, PAGE_BYTES)

    @property
    def output_bytes(self) -> int:
        return round_up(self.images_per_slot * self.n_classes * FLOAT32_BYTES, PAGE_BYTES)

    @property
    def slot_bytes(self) -> int:
        return self.input_bytes + self.output_bytes

    @property
    def n_bytes(self) -> int:
        return self.n_slots * self.slot_bytes


def smallest_slot(batch: int) -> int:
    """Device batches of a slot where slots are small."""
    return max(1, SMALL_SLOT_IMAGES // batch)


def largest_slot(batch: int) -> int:
    """Device batches for which a slot may have rows."""
    return max(1, LARGE_SLOT_IMAGES // batch)


def default_window(batch: int) -> int:
    """Batches in flight per chip: one executes, one is copied in.

    A single image is over so soon that a chip of 600 images/s runs dry before a busy host has brought the next one; a
    third in flight covers that.
    """
    return 3 if batch == 1 else 2


def default_n_slots(n_chips: int, window: int, n_decoders: int, smallest: int) -> int:
    """Slots that keep everyone busy: per chip its window and one ready; per decoder two filling and one to spare.

    window, smallest : batches in flight per chip, batches of a small slot: one executes, the others cover the window
    """
    n_held = 1 - (-(window - 1) // smallest)
    return n_chips * (n_held + 1) + 3 * n_decoders
