"""Small rooms: layout, messages, devices, backends, index table, collector."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import messages
from engine.arena import Arena, allocate, create_arena_fd
from engine.collector import FAILED, NAN, SCORED, UNRANKED, Collector
from engine.config import choose_backend, parse_devices
from engine.errors import ConfigError, DataError, ResourceError
from engine.host import check_memory
from engine.index import read_index
from engine.labels.files import read_labels
from engine.layout import ArenaLayout, ImageLayout, default_n_slots, default_window, largest_slot, smallest_slot
from engine.messages import Done, Failed, Fill, Filled
from engine.names import NameTable, natural_key
from engine.pipeline import label_offset
from engine.presets import find_preset

IMAGE = ImageLayout(224)


def test_a_chip_of_single_images_has_one_more_in_flight() -> None:
    assert [default_window(batch) for batch in (1, 2, 32)] == [3, 2, 2]


def test_slots_do_not_overlap_and_start_on_pages() -> None:
    layout = ArenaLayout(3, 5, ImageLayout(8), 7)
    fd = create_arena_fd()
    try:
        allocate(fd, layout)
        arena = Arena(fd, layout)
        for number in range(3):
            arena.slot(number).inputs[:] = number
            arena.slot(number).outputs[:] = 10 + number
        for number in range(3):
            slot = arena.slot(number)
            assert slot.inputs.shape == (5, 3, 8, 8)
            assert slot.outputs.shape == (5, 7)
            assert slot.inputs.ctypes.data % 4096 == slot.outputs.ctypes.data % 4096 == 0
            assert (slot.inputs == number).all()
            assert (slot.outputs == 10 + number).all()
    finally:
        os.close(fd)


def test_an_arena_beyond_the_memory_is_refused_with_need_have_and_remedy() -> None:
    with pytest.raises(ResourceError, match=r"arena of 4000000 slots x 9\.2 MiB needs .* are available: lower --slots"):
        check_memory(ArenaLayout(4_000_000, 16, IMAGE, 1000))


def test_an_arena_of_one_slot_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at least 2 slots .* got --slots 1"):
        ArenaLayout(1, 16, IMAGE, 1000)


@pytest.mark.parametrize(
    ("batch", "smallest", "largest"),
    [(1, 4, 32), (2, 2, 16), (3, 1, 10), (4, 1, 8), (16, 1, 2), (20, 1, 1), (64, 1, 1)],
)
def test_small_batches_share_a_slot(batch: int, smallest: int, largest: int) -> None:
    assert (smallest_slot(batch), largest_slot(batch)) == (smallest, largest)


@pytest.mark.parametrize(
    ("window", "smallest", "n_held"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (2, 4, 2), (1, 4, 1), (9, 4, 3)]
)
def test_slots_cover_the_windows_of_all_chips_and_keep_the_decoders_busy(
    window: int, smallest: int, n_held: int
) -> None:
    """Three chips that hold so many slots each, one ready for each, and three for each of two decoders."""
    assert default_n_slots(3, window, 2, smallest) == 3 * (n_held + 1) + 3 * 2


@given(st.builds(Fill, st.integers(0, 2**20), st.lists(st.integers(0, 2**40))))
def test_messages_survive_their_frame(fill: Fill) -> None:
    assert messages.decode(messages.encode(fill)) == fill


def test_messages_keep_integer_keys_and_text() -> None:
    filled = Filled(3, {0: "truncated"}, {"pillow": 15}, 1, 2, b"\x03" * 32, [1, 2, 3], 8, [4, 5, 6, 7])
    assert messages.decode(messages.encode(filled)) == filled
    done = Done(1, 2, 3, 9, 4, 5, 6, 7, 2**62, [1, 2, 3, 4], [[5, 6, 7, 8, 9, 10]])
    assert messages.decode(messages.encode(done)) == done


def test_a_failed_process_raises_its_own_error_in_the_hub() -> None:
    assert isinstance(Failed("DataError", "no such file").exception(), DataError)


@pytest.mark.parametrize(("text", "ids"), [("0-3", (0, 1, 2, 3)), ("0,2", (0, 2)), ("1", (1,)), ("2,0-1", (0, 1, 2))])
def test_devices(text: str, ids: tuple[int, ...]) -> None:
    assert parse_devices(text) == ids


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no list of devices"),
        ("a", "is no list of devices"),
        ("3-1", "ends before it begins"),
        ("0,0", "names device 0 twice"),
        ("0-99999999", "above 255"),
        ("-1", "is no list of devices"),
    ],
)
def test_devices_that_are_none(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_devices(text)


def test_names_near_a_known_one_are_suggested() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown backend 'onxx', did you mean 'onnxruntime'\? known: auto, cann, null"
    ):
        choose_backend("onxx")
    with pytest.raises(ConfigError, match="unknown preset 'resnt', did you mean 'resnet'"):
        find_preset("resnt")


def test_natural_order() -> None:
    names = ["img10", "img2", "img1", "a", "img02", "10", "9", "img"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "img", "img1", "img02", "img2", "img10"]


@given(
    st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1), min_size=1)
)
def test_a_shared_name_table_is_the_table(names: list[str]) -> None:
    table = NameTable.of(Path("root"), names)
    fd = table.share()
    try:
        mapped = NameTable.mapped(Path("root"), fd)
        assert [mapped.name(i) for i in range(len(mapped))] == names
    finally:
        os.close(fd)


def test_class_folders_are_numbered_in_sorted_order_and_empty_ones_count(tmp_path: Path) -> None:
    for folder, files in {"n00000002": ["b.JPEG"], "n00000010": ["c.png", "notes.txt"], "n00000001": []}.items():
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).write_bytes(b"x")
    index = read_index(tmp_path, None)
    assert [index.names.name(i) for i in range(len(index))] == ["n00000002/b.JPEG", "n00000010/c.png"]
    assert index.labels.tolist() == [1, 2]


def test_labels_are_matched_by_stem(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("a b.JPEG 3\n\nc.png 1\r\n")
    assert read_labels(path) == {"a b": 3, "c": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [("a.jpg", "needed 'NAME CLASS', got 'a.jpg'"), ("a.jpg x", "class 'x' is no number"), ("a.jpg -1", "class '-1'")],
)
def test_a_bad_label_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"ok.jpg 0\n{line}\n")
    with pytest.raises(DataError, match=rf"labels\.txt:2: .*{reason}"):
        read_labels(path)


@pytest.mark.parametrize(
    ("n_classes", "asked", "offset"), [(1000, None, 0), (1001, None, 1), (1001, 0, 0), (5, None, 0)]
)
def test_1001_outputs_have_a_background_class_in_front(n_classes: int, asked: int | None, offset: int) -> None:
    assert label_offset(n_classes, asked) == offset


def test_merging_slots_in_any_order_gives_the_same_predictions() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(40, 10)).astype(np.float32)
    labels = rng.integers(0, 10, 40).astype(np.int32)
    whole, parts = Collector.of(labels), Collector.of(labels)
    whole.score(logits, np.arange(40))
    for chunk in np.array_split(rng.permutation(40), 7):
        parts.score(logits[chunk], chunk)
    assert (whole.predictions.ranks == parts.predictions.ranks).all()
    assert (whole.predictions.top_ids == parts.predictions.top_ids).all()
    expected = [1 + int((row > row[label]).sum()) for row, label in zip(logits, labels, strict=True)]
    assert whole.predictions.ranks.tolist() == expected
    assert whole.n_top1 == expected.count(1)


def test_nan_is_wrong_and_told_and_a_later_pass_that_differs_is_counted() -> None:
    collector = Collector.of(np.zeros(3, np.int32))
    logits = np.array([[2, 1, 0], [np.nan, 1, 0], [1, 2, 3]], np.float32)
    collector.score(logits[:2], np.array([0, 1]))
    collector.fail(2, "truncated")
    assert collector.predictions.states.tolist() == [SCORED, NAN, FAILED]
    assert collector.predictions.ranks.tolist() == [1, 0, 0]
    collector.score(logits[:2], np.array([0, 1]))
    assert collector.n_inconsistent == 0
    collector.score(logits[[2]], np.array([0]))
    assert collector.n_inconsistent == 1
    assert collector.first_difference == (0, "its rank was 1 at first and 3 in a later pass")
    assert collector.predictions.n_in_top(1) == 1


def test_an_image_that_fails_in_a_later_pass_is_told_with_its_reason() -> None:
    collector = Collector.of(np.zeros(2, np.int32))
    collector.score(np.array([[2, 1, 0], [2, 1, 0]], np.float32), np.array([0, 1]))
    collector.fail(1, "cannot be read: No such file or directory")
    collector.fail(0, "cannot be read: No such file or directory")
    assert collector.n_inconsistent == 2
    assert collector.first_difference == (1, "it failed in a later pass: cannot be read: No such file or directory")


def test_without_a_label_a_row_has_classes_and_no_rank_and_a_nan_still_shows() -> None:
    collector = Collector.of(np.full(2, -1, np.int32))
    rows = np.array([[1, 3, 2], [1, np.nan, 2]], np.float32)
    collector.score(rows, np.array([0, 1]))
    predictions = collector.predictions
    assert predictions.ranks.tolist() == [UNRANKED, 0]
    assert predictions.states.tolist() == [SCORED, NAN]
    assert predictions.top_ids[0].tolist() == [1, 2, 0, -1, -1]
    assert (collector.n_top1, predictions.n_in_top(5)) == (0, 0)


def test_labels_are_only_left_out_on_request(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="give their classes with --labels FILE, or ask for a run without accuracy by"):
        read_index(tmp_path, None)
    with pytest.raises(ConfigError, match=r"--labels .* and --no-labels contradict each other: leave one of them out"):
        read_index(tmp_path, tmp_path / "labels.txt", no_labels=True)
    index = read_index(tmp_path, None, no_labels=True)
    assert not index.is_labelled
    assert index.columns(1).tolist() == [-1]  # an offset makes no class of it


def test_a_process_of_the_engine_looks_for_no_garbage_among_what_it_began_with() -> None:
    """Modules alone are some ten thousand objects; a look at all of them would hold up a decoder."""
    code = (
        "import gc, engine.decoder, engine.process as p; p.begin('x'); "
        "print(len(gc.get_objects()) < 1000 < gc.get_freeze_count())"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert finished.stdout == "True\n"
