"""``acl.rt``: device memory, page-locked host memory, copies (reference section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from engine.pyacl_stubs import memory
from engine.pyacl_stubs.chip import Chip
from engine.pyacl_stubs.codes import SUCCESS, AclError, Code
from engine.pyacl_stubs.entry import entry, with_zero
from engine.pyacl_stubs.memory import ALIGNMENT, Block, Span
from engine.pyacl_stubs.process import PROCESS, Context
from engine.pyacl_stubs.races import watched_source
from engine.pyacl_stubs.report import caller
from engine.pyacl_stubs.schedule import Lane, Stream
from engine.pyacl_stubs.tasks import Move, Task
from engine.pyacl_stubs.work import (
    check_alive,
    hold_or_wait,
    queue_task,
    raise_first_error,
    record_on,
    stream_of,
    wait_for,
)

HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = range(4)
DIRECTIONS = {HOST_TO_HOST: "h2h", HOST_TO_DEVICE: "h2d", DEVICE_TO_HOST: "d2h", DEVICE_TO_DEVICE: "d2d"}
#: HUGE_FIRST, HUGE_ONLY, NORMAL_ONLY; 3-5 are their peer-to-peer twins, which a 310 does not have.
POLICIES = range(3)
P2P_POLICIES = range(3, 6)
#: get_mem_info: a 310 has DDR (0), and its huge (2) and normal (3) pages.
DDR_ATTRIBUTES = (0, 2, 3)
#: PROCESS.copies is emptied when a program that allocates per image has filled it.
MAX_COPIES = 1024


@entry("acl.rt.malloc", with_zero)
def malloc(size: int, policy: int, /) -> tuple[int, int]:
    """Device memory, 64-byte aligned, not initialised."""
    return _malloc(size, policy), SUCCESS


@entry("acl.rt.malloc_align32", with_zero)
def malloc_align32(size: int, policy: int, /) -> tuple[int, int]:
    """The same without the 32 bytes on top; the simulator keeps them."""
    return _malloc(size, policy), SUCCESS


@entry("acl.rt.malloc_cached", with_zero)
def malloc_cached(size: int, policy: int, /) -> tuple[int, int]:
    """The same, cached: mem_flush and mem_invalidate have nothing to do here."""
    return _malloc(size, policy), SUCCESS


def _malloc(size: int, policy: int) -> int:
    context = PROCESS.context()
    if size <= 0:
        raise AclError(Code.INVALID_PARAM, f"a size of {size} bytes cannot be allocated")
    if policy in P2P_POLICIES:
        raise AclError(Code.RT_FEATURE_NOT_SUPPORT, f"peer-to-peer memory (policy {policy}) is not there on a 310")
    if policy not in POLICIES:
        raise AclError(Code.INVALID_PARAM, f"unknown policy {policy}")
    return context.device.chip.memory.malloc(size, PROCESS.origin()).address


@entry("acl.rt.mem_flush")
def mem_flush(ptr: int, size: int, /) -> int:
    """Write cached device memory back."""
    PROCESS.context()
    _device_span(ptr, size)
    return SUCCESS


@entry("acl.rt.mem_invalidate")
def mem_invalidate(ptr: int, size: int, /) -> int:
    """Forget cached device memory."""
    PROCESS.context()
    _device_span(ptr, size)
    return SUCCESS


@entry("acl.rt.free")
def free(ptr: int, /) -> int:
    """Release device memory."""
    PROCESS.context()
    chip = PROCESS.chip_of(ptr)
    block = chip.memory.table.find(ptr) if chip is not None else None
    if chip is None or block is None or block.address != ptr:
        raise AclError(Code.INVALID_PARAM, f"{_describe(ptr)} is not the start of allocated device memory")
    _check_not_in_use(block, "acl.rt.free")
    chip.memory.free(ptr)
    _remember_freed(block, "acl.rt.free")
    return SUCCESS


@entry("acl.rt.malloc_host", with_zero)
def malloc_host(size: int, /) -> tuple[int, int]:
    """Page-locked host memory, which the program can use directly."""
    PROCESS.context()
    if size <= 0:
        raise AclError(Code.INVALID_PARAM, f"a size of {size} bytes cannot be allocated")
    return PROCESS.host.malloc(size, PROCESS.origin()).address, SUCCESS


@entry("acl.rt.free_host")
def free_host(ptr: int, /) -> int:
    """Release page-locked host memory."""
    PROCESS.context()
    block = PROCESS.host.table.find(ptr)
    if block is None or block.address != ptr:
        raise AclError(Code.INVALID_PARAM, f"{_describe(ptr)} is not the start of memory from malloc_host")
    _check_not_in_use(block, "acl.rt.free_host")
    _, written = PROCESS.host.free(ptr)
    for late in written:
        PROCESS.complain("acl.rt.free_host", f"{late}, allocated at {late.origin}, was written to after it was freed")
    _remember_freed(block, "acl.rt.free_host")
    return SUCCESS


def _check_not_in_use(block: Block, call: str) -> None:
    if PROCESS.races is not None:
        user = PROCESS.races.pending_user(block)
        if user is not None:
            PROCESS.complain(call, f"{block}, allocated at {block.origin}, is still in use by {user}")


def _remember_freed(block: Block, call: str) -> None:
    if PROCESS.settings.is_strict:
        PROCESS.tombstones[block.address] = f"{block}, allocated at {block.origin}, was freed by {call} at {caller()}"


def _describe(address: int) -> str:
    return PROCESS.tombstones.get(address) or f"{address:#x}"


# --- copies --------------------------------------------------------------------------------------------------------
@entry("acl.rt.memcpy")
def memcpy(dst: int, dst_max: int, src: int, count: int, kind: int, /) -> int:
    """Copy, and return when it is done. Holds the GIL."""
    context = PROCESS.context()
    to, source = _spans(dst, dst_max, src, count, kind)
    chip = context.device.chip
    direction = DIRECTIONS[kind]
    chip.settle()
    if PROCESS.races is not None:
        PROCESS.races.on_host_access("acl.rt.memcpy", [source], [to])
    if kind == HOST_TO_HOST:
        memory.copy(to, source, count, hold_gil=PROCESS.settings.hold_gil)
        return SUCCESS
    is_pinned = to.is_pinned or source.is_pinned
    now_ns = PROCESS.clock.now_ns()
    duration_ns = PROCESS.profile.copy.duration_ns(count, direction, is_pinned)
    start_ns = chip.lane(direction).reserve(now_ns, duration_ns, now_ns)
    memory.copy(to, source, count, hold_gil=PROCESS.settings.hold_gil)
    hold_or_wait(start_ns + duration_ns)
    check_alive(chip)
    return SUCCESS


@entry("acl.rt.memcpy_async")
def memcpy_async(dst: int, dst_max: int, src: int, count: int, kind: int, stream: int, /) -> int:
    """Queue a copy; host memory is read or written when it executes. Holds the GIL, for as long as queueing takes."""
    context = PROCESS.context()
    queue = stream_of(stream, context)
    if kind == HOST_TO_HOST:
        return _refuse_host_to_host(queue)
    chip = context.chip
    key = (dst, dst_max, src, count, kind, chip.id)
    copy = PROCESS.copies.get(key)
    if copy is None or not copy.is_valid:
        copy = _checked_copy(key, chip)
    task = Task(queue, "acl.rt.memcpy_async", copy.move or _watched_move(copy))
    queue_task(task, copy.lane, copy.duration_ns, ((copy.source,), (copy.to,)), chip)
    if not copy.is_pinned and PROCESS.settings.pageable_async == "blocks":
        wait_for(record_on(queue), chip)
        raise_first_error(queue)
    return SUCCESS


@dataclass(frozen=True)
class Copy:
    """An asynchronous copy that passed every check. It need not be checked again while its blocks live.

    move : its effect; None where strict mode watches each one's source
    """

    to: Span
    source: Span
    lane: Lane
    duration_ns: int
    is_pinned: bool
    move: Move | None

    @property
    def is_valid(self) -> bool:
        """Both blocks are as they were. Of pageable memory nobody knows."""
        to, source = self.to.block, self.source.block
        return to is not None and source is not None and to.is_live and source.is_live


def _checked_copy(key: tuple[int, ...], chip: Chip) -> Copy:
    dst, dst_max, src, count, kind, _ = key
    to, source = _spans(dst, dst_max, src, count, kind)
    is_pinned = kind == DEVICE_TO_DEVICE or to.is_pinned or source.is_pinned
    _check_async(to, source, is_pinned)
    direction = DIRECTIONS[kind]
    duration_ns = PROCESS.profile.copy.duration_ns(count, direction, is_pinned)
    if len(PROCESS.copies) >= MAX_COPIES:
        PROCESS.copies.clear()
    move = None if PROCESS.settings.is_strict and source.is_pinned else Move(to, source)
    copy = PROCESS.copies[key] = Copy(to, source, chip.lane(direction), duration_ns, is_pinned, move)
    return copy


def _watched_move(copy: Copy) -> Move:
    """Strict mode looks whether the source was changed between the call and the copy."""
    return Move(copy.to, copy.source, watched_source(copy.source, PROCESS.complain))


def _refuse_host_to_host(stream: Stream) -> int:
    error = AclError(Code.RT_FEATURE_NOT_SUPPORT, "host to host is not there for asynchronous copies")
    if PROCESS.settings.host_to_host_async == "call":
        raise error
    stream.fail("acl.rt.memcpy_async", error)
    return SUCCESS


def _check_async(dst: Span, src: Span, is_pinned: bool) -> None:
    """What documented mode leaves to the hardware, and strict mode refuses."""
    if not PROCESS.settings.is_strict:
        return
    if not is_pinned:
        host = dst if src.is_device else src
        raise AclError(
            Code.RT_INVALID_MEMORY_TYPE,
            f"host memory {host.address:#x} is pageable: on a 310 an asynchronous copy needs memory from malloc_host",
        )
    for span in (dst, src):
        if span.address % ALIGNMENT:
            raise AclError(Code.RT_ADDR_UNALIGNED, f"{span.address:#x} of an asynchronous copy is not 64-byte aligned")


def _spans(dst: int, dst_max: int, src: int, count: int, kind: int) -> tuple[Span, Span]:
    """Target and source of a copy, checked against the kind. Raises AclError."""
    if not dst or not src:
        raise AclError(Code.INVALID_PARAM, "a NULL pointer cannot be copied from or to")
    if count <= 0 or count > dst_max:
        raise AclError(Code.INVALID_PARAM, f"{count} bytes do not fit the {dst_max} of dst_max")
    if kind not in DIRECTIONS:
        raise AclError(Code.INVALID_PARAM, f"unknown kind {kind}")
    to, source = PROCESS.span(dst, count), PROCESS.span(src, count)
    _check_side(to, kind in (HOST_TO_DEVICE, DEVICE_TO_DEVICE), "target", kind)
    _check_side(source, kind in (DEVICE_TO_HOST, DEVICE_TO_DEVICE), "source", kind)
    return to, source


def _check_side(span: Span, needs_device: bool, side: str, kind: int) -> None:
    chip = PROCESS.chip_of(span.address)
    is_device_address = chip is not None
    if is_device_address and span.block is None:
        raise AclError(Code.RT_PARAM_INVALID, f"{side} {_describe(span.address)} is not allocated device memory")
    if is_device_address != needs_device:
        what = span.block or f"host memory {span.address:#x}"
        raise AclError(Code.RT_PARAM_INVALID, f"kind {kind} ({DIRECTIONS[kind]}) does not fit its {side}: {what}")
    if chip is not None and kind != DEVICE_TO_DEVICE and chip is not PROCESS.context().device.chip:
        raise AclError(Code.RT_PARAM_INVALID, f"{side} {span.block} is not memory of this thread's device")
    freed = None if is_device_address or span.block is not None else PROCESS.host.freed_block(span.address)
    if freed is not None:
        raise AclError(Code.RT_PARAM_INVALID, f"{side} is freed: {_describe(freed.address)}")


def _device_span(address: int, n_bytes: int) -> Span:
    """Allocated device memory. Raises AclError."""
    span = PROCESS.span(address, n_bytes)
    if not span.is_device:
        raise AclError(Code.RT_PARAM_INVALID, f"{_describe(address)} is not allocated device memory")
    return span


@entry("acl.rt.memset")
def memset(ptr: int, max_count: int, value: int, count: int, /) -> int:
    """Set device or page-locked memory. Holds the GIL."""
    context = PROCESS.context()
    span = _fill_span(ptr, max_count, count)
    context.device.chip.settle()
    if PROCESS.races is not None:
        PROCESS.races.on_host_access("acl.rt.memset", [], [span])
    memory.fill(span, value, count)
    hold_or_wait(PROCESS.clock.now_ns() + PROCESS.profile.copy.duration_ns(count, "d2d", True))
    return SUCCESS


@entry("acl.rt.memset_async")
def memset_async(ptr: int, max_count: int, value: int, count: int, stream: int, /) -> int:
    """Queue a memset."""
    context: Context = PROCESS.context()
    span = _fill_span(ptr, max_count, count)
    chip = context.device.chip
    task = Task(stream_of(stream, context), "acl.rt.memset_async", lambda: memory.fill(span, value, count))
    duration_ns = PROCESS.profile.copy.duration_ns(count, "d2d", True)
    queue_task(task, chip.copy_within, duration_ns, ((), (span,)), chip)
    return SUCCESS


def _fill_span(ptr: int, max_count: int, count: int) -> Span:
    if not ptr or count <= 0 or count > max_count:
        raise AclError(Code.INVALID_PARAM, f"cannot set {count} of at most {max_count} bytes at {ptr:#x}")
    span = PROCESS.span(ptr, count)
    if span.block is None:
        raise AclError(Code.RT_PARAM_INVALID, f"{_describe(ptr)} was not allocated by acl.rt.malloc or malloc_host")
    return span


@entry("acl.rt.get_mem_info", lambda code: (0, 0, code))
def get_mem_info(attr: int, /) -> tuple[int, int, int]:
    """Free and total bytes of the current device."""
    device_memory = PROCESS.context().device.chip.memory
    if attr not in DDR_ATTRIBUTES:
        raise AclError(Code.RT_FEATURE_NOT_SUPPORT, f"a 310 has no memory of the kind {attr}, only DDR (0, 2, 3)")
    return device_memory.free_bytes, device_memory.total_bytes, SUCCESS
