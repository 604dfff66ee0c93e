"""Label files and class folders of every kind give the class of sorted synsets, or are refused by file and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import DataError
from engine.index import read_index
from engine.labels.files import read_label_file, read_labels
from engine.labels.synsets import class_of_devkit, class_of_synset, devkit_synsets

#: The classes of ILSVRC2012_val_00000001 to 10 as Caffe's val.txt has them, and their lines in the devkit's file.
FIRST_CLASSES = (65, 970, 230, 809, 516, 57, 334, 415, 674, 332)
FIRST_DEVKIT = (490, 361, 171, 822, 297, 482, 13, 704, 599, 164)


def images(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def validation(n: int) -> list[str]:
    return [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, n + 1)]


def test_the_devkits_table_is_a_permutation_and_gives_the_first_images_their_classes() -> None:
    assert sorted(devkit_synsets()) == list(class_of_synset())
    assert len(set(devkit_synsets())) == 1000
    assert [class_of_devkit(number) for number in FIRST_DEVKIT] == list(FIRST_CLASSES)
    assert [class_of_synset()[w] for w in ("n01440764", "n02119789", "n03255030", "n15075141")] == [0, 278, 543, 999]


def test_the_devkits_ground_truth_is_converted_and_said(tmp_path: Path) -> None:
    folder = images(tmp_path / "val", validation(10))
    labels = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    labels.write_text("".join(f"{number}\n" for number in FIRST_DEVKIT))
    index = read_index(folder, labels)
    assert index.labels.tolist() == list(FIRST_CLASSES)
    assert index.notes == (f"labels {labels}: the devkit's ground truth, converted from its order to sorted synsets",)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("490\n0\n171\n", r"gt\.txt:2: 0 is no number from 1 to 1000: a file of numbers without names is read as the"),
        ("490\n1001\n", r"gt\.txt:2: 1001 is no number from 1 to 1000"),
        ("9" * 40 + "\n", r"gt\.txt:1: 9{20} is no number from 1 to 1000"),
    ],
)
def test_bare_numbers_that_are_no_devkit_are_refused(tmp_path: Path, numbers: str, message: str) -> None:
    labels = tmp_path / "gt.txt"
    labels.write_text(numbers)
    with pytest.raises(DataError, match=message):
        read_labels(labels)


def test_bare_numbers_are_never_taken_for_images_of_other_names(tmp_path: Path) -> None:
    folder = images(tmp_path / "val", ["a.JPEG", "b.JPEG"])
    labels = tmp_path / "gt.txt"
    labels.write_text("1\n2\n")
    message = r"2 of 2 images have no label in .*gt\.txt, first a\.JPEG: its lines have no names and are for ILSVRC2012"
    with pytest.raises(DataError, match=message):
        read_index(folder, labels)


def test_bare_synsets_label_the_validation_images(tmp_path: Path) -> None:
    folder = images(tmp_path / "val", validation(2))
    labels = tmp_path / "synset_labels.txt"
    labels.write_text("n01751748\nn09193705\n")
    assert read_index(folder, labels).labels.tolist() == [65, 970]


def test_names_with_synsets(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a.JPEG n01440764\nb.JPEG 7\n")
    assert read_labels(labels) == {"a": 0, "b": 7}
    labels.write_text("a.JPEG n01440765\n")
    with pytest.raises(DataError, match=r"labels\.txt:1: n01440765 is none of the 1000 synsets of ILSVRC2012"):
        read_labels(labels)


def test_kaggles_solution_file(tmp_path: Path) -> None:
    folder = images(tmp_path / "val", validation(2))
    labels = tmp_path / "LOC_val_solution.csv"
    rows = [
        "ImageId,PredictionString",
        "ILSVRC2012_val_00000002,n09193705 1 2 3 4 ",
        "ILSVRC2012_val_00000001,n01751748 111 108 497 264 n01751748 5 6 7 8 ",
    ]
    labels.write_text("\n".join(rows) + "\n")
    assert read_index(folder, labels).labels.tolist() == [65, 970]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,n01751748 1 2 3", r"csv:2: needed 'IMAGE,SYNSET X Y X Y \.\.\.', got 'a,n01751748 1 2 3'"),
        ("a,", r"csv:2: needed 'IMAGE,SYNSET"),
        ("a,65 1 2 3 4", r"csv:2: needed 'IMAGE,SYNSET"),
        ("a,n01751748 1 2 3 4 n09193705 1 2 3 4", r"csv:2: a has boxes of 2 synsets: needed one class"),
        ("a,n99999999 1 2 3 4", r"csv:2: n99999999 is none of the 1000 synsets"),
    ],
)
def test_a_bad_row_of_kaggles_file_is_named(tmp_path: Path, row: str, message: str) -> None:
    labels = tmp_path / "solution.csv"
    labels.write_text(f"ImageId,PredictionString\n{row}\n")
    with pytest.raises(DataError, match=message):
        read_labels(labels)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            FIRST_DEVKIT,
            r"00000001 is class 65 but the labels say 490, its number in the devkit's order.* 9 of 9 images",
        ),
        ([n - 1 for n in FIRST_DEVKIT], r"say 489, its number in the devkit's order, counted from 0"),
        ([n + 1 for n in FIRST_CLASSES], r"say 66, its class counted from 1: subtract 1 from every class"),
        ((65, 970, 0), r"00000003 is class 230 but the labels say 0, neither its class nor.* 1 of 3 images"),
    ],
)
def test_labels_in_another_order_are_warned_of(tmp_path: Path, classes: tuple[int, ...], message: str) -> None:
    labels = tmp_path / "labels.txt"
    lines = [f"{name} {class_id}" for name, class_id in zip(validation(len(classes)), classes, strict=True)]
    labels.write_text("\n".join(lines))
    (note,) = read_label_file(labels).notes
    assert note.startswith("WARNING: ")
    assert re.search(message, note)


def test_right_labels_are_not_warned_of(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"{n} {c}" for n, c in zip(validation(10), FIRST_CLASSES, strict=True)))
    assert read_label_file(labels).notes == ()


def test_numeric_folders_are_their_numbers(tmp_path: Path) -> None:
    """ImageNet-V2: 10 is class 10, not the class after 1, and a folder that is missing moves no other."""
    images(tmp_path, ["0/a.jpeg", "2/b.jpeg", "10/c.jpeg", "999/d.jpeg"])
    index = read_index(tmp_path, None)
    assert [index.names.name(i) for i in range(4)] == ["0/a.jpeg", "2/b.jpeg", "10/c.jpeg", "999/d.jpeg"]
    assert index.labels.tolist() == [0, 2, 10, 999]


def test_two_folders_of_one_number_are_refused(tmp_path: Path) -> None:
    images(tmp_path, ["7/a.jpeg", "007/b.jpeg"])
    with pytest.raises(DataError, match=r"folders (7 and 007|007 and 7) of .* are both class 7: merge them"):
        read_index(tmp_path, None)


def test_synset_folders_have_their_places_among_all_synsets(tmp_path: Path) -> None:
    images(tmp_path, ["n02119789/a.jpeg", "n01440764/b.jpeg"])
    index = read_index(tmp_path, None)
    assert index.labels.tolist() == [0, 278]
    assert index.notes == (
        f"{tmp_path} has 2 of the 1000 synsets of ILSVRC2012: classes are the places among all 1000, such as 0 for "
        "n01440764",
    )


def test_all_synset_folders_are_numbered_in_sorted_order_without_a_note(tmp_path: Path) -> None:
    for wnid in devkit_synsets():
        (tmp_path / wnid).mkdir()
    images(tmp_path, ["n15075141/a.jpeg", "n01751748/b.jpeg"])
    index = read_index(tmp_path, None)
    assert (index.labels.tolist(), index.notes) == ([65, 999], ())
