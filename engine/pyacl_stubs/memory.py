"""Memory of the simulated card: device memory in an address space of its own, and page-locked host memory.

A device pointer is a number that maps to nothing: host code that follows it faults, as it must. The bytes behind it
live in a mapping of this process that only the simulator knows. Host memory is real; its pointers can be followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from engine.pyacl_stubs.codes import AclError, Code

#: Not canonical on x86-64 and outside of user space on arm64: following such a pointer always faults.
DEVICE_BASE = 0x0AC1_0000_0000_0000
#: Address space of one chip, far more than its memory.
DEVICE_SPAN = 1 << 44
#: ``malloc`` starts on 64 bytes, rounds up to 32 and adds 32 (aclrtMalloc).
ALIGNMENT = 64
#: Content of fresh memory in strict mode: what was never written does not look like zeros.
FRESH_BYTE = 0xA5
FREED_BYTE = 0xDB
#: Strict mode keeps this much freed host memory mapped, to report late writes instead of crashing.
QUARANTINE_BYTES = 64 << 20
#: Memory of at least this size asks for huge pages: copies then cost a tenth less, as the kernel walks fewer tables.
HUGE_PAGE_BYTES = 1 << 21
#: Copies up to this size hold the GIL: taking it back costs more than the copy.
SMALL_COPY_BYTES = 1 << 15

_libc = ctypes.CDLL(None, use_errno=True)
_memmove = _libc.memmove
_memmove.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memmove_holding_gil = ctypes.PyDLL(None).memmove
_memmove_holding_gil.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@dataclass(eq=False)
class Block:
    """One allocation. `address` is what the program sees, `real` is where the bytes are."""

    address: int
    n_bytes: int
    real: int
    mapping: Any
    origin: str
    #: Device id, or -1: page-locked host memory.
    device: int = -1
    #: What the allocation costs of the device's memory, rounding included.
    cost: int = 0
    is_live: bool = True
    #: Unordered accesses of it are found here in strict mode.
    accesses: Any = None

    @property
    def is_device(self) -> bool:
        """The bytes are the chip's; the host cannot reach them by a pointer."""
        return self.device >= 0

    def __str__(self) -> str:
        where = f"device {self.device} memory" if self.is_device else "page-locked host memory"
        return f"{where} {self.address:#x} of {self.n_bytes} bytes"


class Span:
    """Bytes that a call names: inside a block, or in memory that the simulator does not know (pageable).

    real : where the bytes are in this process
    """

    __slots__ = ("address", "block", "n_bytes", "real")

    def __init__(self, address: int, n_bytes: int, block: Block | None) -> None:
        self.address = address
        self.n_bytes = n_bytes
        self.block = block
        self.real = address if block is None else block.real + address - block.address

    @property
    def is_pinned(self) -> bool:
        """Page-locked host memory."""
        return self.block is not None and not self.block.is_device

    @property
    def is_device(self) -> bool:
        """Memory of a chip."""
        return self.block is not None and self.block.is_device

    def view(self) -> ctypes.Array[ctypes.c_uint8]:
        """The bytes as a ctypes array; for blocks only."""
        return (ctypes.c_uint8 * self.n_bytes).from_address(self.real)

    @property
    def is_live(self) -> bool:
        """Its block was not freed; of pageable memory nobody knows."""
        return self.block is None or self.block.is_live

    def check_live(self) -> None:
        """Raise AclError when the block was freed before the copy or execute got to it."""
        if not self.is_live:
            raise AclError(Code.RT_SYS_DMA, f"{self.block} was freed before the queued work used it")


class BlockTable:
    """Live blocks of one address space, found by any address inside them."""

    def __init__(self) -> None:
        self._by_address: dict[int, Block] = {}
        self._addresses: list[int] = []

    def add(self, block: Block) -> None:
        """Make a block findable."""
        self._by_address[block.address] = block
        insort(self._addresses, block.address)

    def remove(self, address: int) -> Block | None:
        """Take out the block that starts at `address`; None if none does."""
        block = self._by_address.pop(address, None)
        if block is not None:
            del self._addresses[bisect_right(self._addresses, address) - 1]
        return block

    def find(self, address: int) -> Block | None:
        """The block that holds `address`, or None."""
        block = self._by_address.get(address)
        if block is not None:
            return block
        at = bisect_right(self._addresses, address)
        if at == 0:
            return None
        block = self._by_address[self._addresses[at - 1]]
        return block if address < block.address + block.n_bytes else None

    def blocks(self) -> list[Block]:
        """All live blocks, by address."""
        return [self._by_address[address] for address in self._addresses]


@dataclass
class DeviceMemory:
    """The memory of one chip."""

    device: int
    total_bytes: int
    is_strict: bool = False
    used_bytes: int = 0
    table: BlockTable = field(default_factory=BlockTable)

    def __post_init__(self) -> None:
        self._next = DEVICE_BASE + self.device * DEVICE_SPAN + (1 << 21)

    @property
    def free_bytes(self) -> int:
        """What can still be allocated."""
        return self.total_bytes - self.used_bytes

    def malloc(self, n_bytes: int, origin: str) -> Block:
        """Allocate as ``acl.rt.malloc`` does. Raises AclError 207001 when the chip is full."""
        cost = round_up(n_bytes, 32) + 32
        if cost > self.free_bytes:
            raise AclError(
                Code.RT_MEMORY_ALLOCATION,
                f"device {self.device} has {self.free_bytes} of {self.total_bytes} bytes free, {cost} were asked for",
            )
        mapping, real = _map(cost)
        if self.is_strict:
            ctypes.memset(real, FRESH_BYTE, cost)
        block = Block(self._next, n_bytes, real, mapping, origin, self.device, cost)
        self._next += round_up(cost, ALIGNMENT)
        self.used_bytes += cost
        self.table.add(block)
        return block

    def free(self, address: int) -> Block | None:
        """Release the block that starts at `address`; None if none does."""
        block = self.table.remove(address)
        if block is not None:
            block.is_live = False
            self.used_bytes -= block.cost
        return block

    def free_all(self) -> None:
        """Release everything, as closing the device does."""
        for block in self.table.blocks():
            self.free(block.address)
        self.used_bytes = 0


class HostMemory:
    """Page-locked host memory, given out by ``acl.rt.malloc_host``."""

    def __init__(self, is_strict: bool) -> None:
        self._is_strict = is_strict
        self._quarantine: deque[Block] = deque()
        self._quarantine_bytes = 0
        self.table = BlockTable()

    def malloc(self, n_bytes: int, origin: str) -> Block:
        """Whole pages of real memory, so 64-byte aligned."""
        mapping, real = _map(n_bytes)
        if self._is_strict:
            ctypes.memset(real, FRESH_BYTE, n_bytes)
        block = Block(real, n_bytes, real, mapping, origin)
        self.table.add(block)
        return block

    def free(self, address: int) -> tuple[Block | None, list[Block]]:
        """Release a block. Also gives the formerly freed blocks that were written to since."""
        block = self.table.remove(address)
        if block is None:
            return None, []
        block.is_live = False
        if not self._is_strict:
            return block, []
        ctypes.memset(block.real, FREED_BYTE, block.n_bytes)
        self._quarantine.append(block)
        self._quarantine_bytes += block.n_bytes
        return block, self._evict(QUARANTINE_BYTES)

    def freed_block(self, address: int) -> Block | None:
        """A freed block that is still in quarantine and holds `address`."""
        return next((b for b in self._quarantine if b.address <= address < b.address + b.n_bytes), None)

    def close(self) -> list[Block]:
        """Empty the quarantine; the blocks that were written to after they were freed."""
        return self._evict(0)

    def _evict(self, limit_bytes: int) -> list[Block]:
        written = []
        while self._quarantine_bytes > limit_bytes:
            block = self._quarantine.popleft()
            self._quarantine_bytes -= block.n_bytes
            if ctypes.string_at(block.real, block.n_bytes).strip(bytes([FREED_BYTE])):
                written.append(block)
        return written


def _map(n_bytes: int) -> tuple[Any, int]:
    """Private zeroed pages, huge ones where they fit, and their address. They live as long as the first value does."""
    length = max(1, n_bytes) if n_bytes < HUGE_PAGE_BYTES else round_up(n_bytes, HUGE_PAGE_BYTES)
    try:
        pages = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise AclError(Code.RT_MEMORY_ALLOCATION, f"the host cannot map {n_bytes} bytes: {error}") from None
    if length >= HUGE_PAGE_BYTES:
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    anchor = (ctypes.c_uint8 * max(1, n_bytes)).from_buffer(pages)
    return anchor, ctypes.addressof(anchor)


def copy(dst: Span, src: Span, n_bytes: int, hold_gil: bool = False) -> None:
    """Move bytes between two spans. Raises AclError where one of them is freed or cannot be reached.

    Pageable memory is reached through the kernel, which reports a bad address instead of crashing.
    """
    to, source = dst.block, src.block
    if source is None and to is not None:
        dst.check_live()
        _move_checked(_libc.process_vm_readv, dst.real, src.real, n_bytes)
        return
    if to is None and source is not None:
        src.check_live()
        _move_checked(_libc.process_vm_writev, src.real, dst.real, n_bytes)
        return
    if (to is not None and not to.is_live) or (source is not None and not source.is_live):
        dst.check_live()
        src.check_live()
    if hold_gil or n_bytes <= SMALL_COPY_BYTES:
        _memmove_holding_gil(dst.real, src.real, n_bytes)
    else:
        _memmove(dst.real, src.real, n_bytes)


def fill(dst: Span, value: int, n_bytes: int) -> None:
    """Set bytes of a block."""
    dst.check_live()
    ctypes.memset(dst.real, value & 0xFF, n_bytes)


def _move_checked(transfer: Any, known: int, foreign: int, n_bytes: int) -> None:
    """Move between the simulator's memory and the program's by process_vm_readv or process_vm_writev."""
    done = 0
    while done < n_bytes:
        near = _IoVec(known + done, n_bytes - done)
        far = _IoVec(foreign + done, n_bytes - done)
        moved = transfer(os.getpid(), ctypes.byref(near), 1, ctypes.byref(far), 1, 0)
        if moved <= 0:
            _move_unchecked_or_raise(transfer, known + done, foreign + done, n_bytes - done)
            return
        done += moved


def _move_unchecked_or_raise(transfer: Any, known: int, foreign: int, n_bytes: int) -> None:
    """A kernel or sandbox without the call moves unchecked; a bad address is an error of the program."""
    if ctypes.get_errno() == errno.EFAULT:
        raise AclError(
            Code.RT_SYS_DMA, f"host address {foreign:#x} is not mapped (freed too early, or a wrong pointer)"
        )
    is_read = transfer is _libc.process_vm_readv
    _memmove(*((known, foreign) if is_read else (foreign, known)), n_bytes)


def round_up(value: int, multiple: int) -> int:
    """The next multiple of `multiple`, or `value` itself."""
    return -(-value // multiple) * multiple
