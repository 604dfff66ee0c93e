"""The 1000 synsets of ILSVRC2012 in their two orders, and images whose classes are known.

Models count the synsets in sorted order; the devkit counts them in an order of its own, from 1. The table is the
devkit's ``meta.mat`` (ILSVRC2012_ID 1 to 1000), as ``map_clsloc.txt`` and darknet's ``imagenet.labels.list`` have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

WNID = re.compile(r"n\d{8}")
N_CLASSES = 1000
VALIDATION_NAME = "ILSVRC2012_val_{:08d}"
#: The first validation images: their class in sorted order and their number in the devkit's ground truth.
CANARIES = {
    VALIDATION_NAME.format(number): pair
    for number, pair in enumerate(
        ((65, 490), (970, 361), (230, 171), (809, 822), (516, 297), (57, 482), (334, 13), (415, 704), (674, 599)), 1
    )
}


@cache
def devkit_synsets() -> tuple[str, ...]:
    """The synsets in the devkit's order."""
    text = resources.files("engine.labels").joinpath("devkit_synsets.txt").read_text()
    return tuple(text.split())


@cache
def class_of_synset() -> Mapping[str, int]:
    """{synset: its class, which is its place in sorted order}."""
    return {wnid: place for place, wnid in enumerate(sorted(devkit_synsets()))}


def class_of_devkit(number: int) -> int:
    """The class of a number (1 to 1000) in the devkit's ground truth."""
    return class_of_synset()[devkit_synsets()[number - 1]]


def canary_warning(classes: Mapping[str, int]) -> str | None:
    """What is wrong with labels that give a known image another class than it has; None where nothing is.

    classes : {name without suffix: class}
    """
    wrong = {name: pair for name, pair in CANARIES.items() if classes.get(name, pair[0]) != pair[0]}
    if not wrong:
        return None
    name, (known, devkit) = next(iter(wrong.items()))
    found = classes[name]
    guesses = {
        devkit: "its number in the devkit's order: label with the devkit's own ground truth file, which is converted",
        devkit - 1: "its number in the devkit's order, counted from 0: label with the devkit's own file instead",
        known + 1: "its class counted from 1: subtract 1 from every class",
    }
    why = guesses.get(found, "neither its class nor its number in the devkit: the labels belong to other images")
    n_known = sum(name in classes for name in CANARIES)
    return (
        f"WARNING: {name} is class {known} but the labels say {found}, {why}. "
        f"{len(wrong)} of {n_known} images with known classes differ; the accuracy will mean nothing"
    )
