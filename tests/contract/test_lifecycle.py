"""Reference section 1: init, devices, contexts, facts."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.contract.conftest import Card


def in_thread(function: object) -> list[object]:
    """What a function returns on a new thread."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(function()))  # type: ignore[operator]
    thread.start()
    thread.join(10)
    return results


def test_everything_before_init_is_100001(fresh: Card) -> None:
    """Section 1, acl.init: must precede every other call."""
    assert fresh.acl.rt.set_device(0) == 100001
    assert fresh.acl.rt.malloc(64, 0) == (0, 100001)
    assert fresh.acl.rt.get_device_count() == (0, 100001)


def test_init_and_finalize_happen_once(fresh: Card) -> None:
    """Section 1: a second init is 100002, a second finalize 100037, a call after it 100001."""
    assert fresh.acl.init() == 0
    assert fresh.acl.init() == 100002
    assert fresh.acl.finalize() == 0
    assert fresh.acl.finalize() == 100037
    assert fresh.acl.rt.set_device(0) == 100001


def test_init_takes_a_json_file(fresh: Card) -> None:
    """Section 1: an optional path, an empty object is fine."""
    config = fresh.folder / "acl.json"
    config.write_text("{}")
    assert fresh.acl.init(str(config)) == 0
    assert fresh.acl.finalize() == 0


def test_init_refuses_none_and_a_missing_file(fresh: Card) -> None:
    """Section 1: the parser raises for None."""
    with pytest.raises(TypeError):
        fresh.acl.init(None)
    assert fresh.acl.init(str(Path("/nonexistent.json"))) == 100003


def test_arguments_are_positional_integers(card: Card) -> None:
    """Section 0.1: no keywords, no None, no float; wrong arity raises."""
    for call in (
        lambda: card.acl.rt.malloc(size=64, policy=0),
        lambda: card.acl.rt.malloc(None, 0),
        lambda: card.acl.rt.malloc(64.0, 0),
        lambda: card.acl.rt.malloc(64),
        lambda: card.acl.mdl.load_from_file(7),
    ):
        with pytest.raises(TypeError):
            call()


def test_a_device_that_is_not_there_is_107001(card: Card) -> None:
    """Section 1, set_device."""
    assert card.acl.rt.set_device(999) == 107001
    assert card.acl.rt.create_context(999) == (0, 107001)
    assert card.acl.rt.reset_device(999) == 107001


def test_facts_of_the_card(card: Card) -> None:
    """Section 1: run mode 1 is the host; soc without a code; version with one."""
    assert card.acl.rt.get_run_mode() == (1, 0)
    assert card.acl.rt.get_device() == (0, 0)
    assert card.ok(card.acl.rt.get_device_count()) >= 1
    assert card.acl.get_soc_name().startswith("Ascend")
    assert len(card.acl.get_version()) == 4
    rates, ret = card.acl.rt.get_device_utilization_rate(0)
    assert ret == 0
    assert "memory_utilization" in rates


def test_a_new_thread_has_no_context(card: Card) -> None:
    """Section 1, threads: 107002 until set_context or set_device."""
    assert in_thread(lambda: card.acl.rt.malloc(64, 0)) == [(0, 107002)]
    assert in_thread(lambda: card.acl.rt.get_device()) == [(0, 107002)]
    assert in_thread(lambda: card.acl.rt.get_context()) == [(0, 107002)]
    context = card.ok(card.acl.rt.get_context())
    assert in_thread(lambda: (card.acl.rt.set_context(context), card.acl.rt.get_context())) == [(0, (context, 0))]


def test_create_context_makes_it_current(card: Card) -> None:
    """Section 1: create_context and set_context, last call wins; destroyed ones are refused."""
    default = card.ok(card.acl.rt.get_context())
    context = card.ok(card.acl.rt.create_context(0))
    assert card.acl.rt.get_context() == (context, 0)
    assert card.acl.rt.set_context(default) == 0
    assert card.acl.rt.destroy_context(context) == 0
    assert card.acl.rt.set_context(context) != 0
    assert card.acl.rt.destroy_context(default) != 0


def test_a_stream_of_another_context_is_107003(card: Card) -> None:
    """Section 1, threads: streams are bound to the context of their creation."""
    default = card.ok(card.acl.rt.get_context())
    stream = card.ok(card.acl.rt.create_stream())
    other = card.ok(card.acl.rt.create_context(0))
    assert card.acl.rt.synchronize_stream(stream) == 107003
    assert card.acl.rt.set_context(default) == 0
    assert card.acl.rt.synchronize_stream(stream) == 0
    assert card.acl.rt.destroy_stream(stream) == 0
    assert card.acl.rt.destroy_context(other) == 0


@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_cannot_use_the_card(card: Card) -> None:
    """Section 1, fork: every call of a child forked after init fails."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if card.acl.rt.set_device(0) in (507000, 100001) and card.acl.init() != 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_message_of_a_failure_is_told_once(card: Card) -> None:
    """Section 1: get_recent_err_msg is per thread and consumed."""
    card.acl.rt.free(12345)
    assert "acl.rt.free" in card.acl.get_recent_err_msg()
    assert card.acl.get_recent_err_msg() is None


def test_repeated_set_device_needs_one_reset(card: Card) -> None:
    """Section 1, set_device: also with a context of one's own in between."""
    assert card.acl.rt.set_device(0) == 0
    context = card.ok(card.acl.rt.create_context(0))
    assert card.acl.rt.set_device(0) == 0
    assert card.acl.rt.destroy_context(context) == 0
    assert card.acl.rt.reset_device(0) == 0
    assert card.acl.rt.malloc(64, 0)[1] == 107002


def test_a_device_lives_until_its_last_thread_has_reset_it(card: Card) -> None:
    """Section 1: several threads may use one device."""
    assert in_thread(lambda: (card.acl.rt.set_device(0), card.acl.rt.reset_device(0))) == [(0, 0)]
    block = card.ok(card.acl.rt.malloc(64, 0))
    assert card.acl.rt.free(block) == 0


def test_memory_of_another_device_is_refused(card: Card) -> None:
    """Section 1, threads: everything is bound to the device of its context."""
    if card.ok(card.acl.rt.get_device_count()) < 2:
        pytest.skip("needs two chips")
    block, host = card.ok(card.acl.rt.malloc(64, 0)), card.ok(card.acl.rt.malloc_host(64))
    assert card.acl.rt.set_device(1) == 0
    assert card.acl.rt.memcpy(block, 64, host, 64, 1) != 0
    assert card.acl.rt.reset_device(1) == 0
    assert card.acl.rt.set_device(0) == 0
    assert card.acl.rt.memcpy(block, 64, host, 64, 1) == 0
    assert card.acl.rt.free(block) == 0
    assert card.acl.rt.free_host(host) == 0
