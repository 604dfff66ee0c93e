"""What labels might mean instead: each guess turns labels into columns of the model's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.labels.synsets import N_CLASSES, class_of_devkit

I32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class LabelGuess:
    """One reading of the labels.

    columns : labels (n,) -> columns (n,) of the model's output, -1 where there is none
    remedy  : what to do if it is right
    """

    name: str
    remedy: str
    columns: Callable[[I32], I32]


def label_guesses(label_offset: int) -> list[LabelGuess]:
    """The first one is the labels as they were used. label_offset : of the run, 1 for models with a background class"""
    devkit = np.array([class_of_devkit(number) for number in range(1, N_CLASSES + 1)], np.int32)
    place = np.argsort(devkit).astype(np.int32)  # class -> devkit number - 1

    def looked_up(table: I32, shift: int) -> Callable[[I32], I32]:
        def columns(labels: I32) -> I32:
            inside = (labels >= shift) & (labels < N_CLASSES + shift)
            found = table[np.clip(labels - shift, 0, N_CLASSES - 1)] + np.int32(label_offset)
            return np.where(inside, found, -1).astype(np.int32)

        return columns

    def shifted(by: int) -> Callable[[I32], I32]:
        return lambda labels: labels + np.int32(label_offset + by)

    below = "the model has no background class: use --label-offset 0" if label_offset else "subtract 1 from every class"
    return [
        LabelGuess("as they are", "", shifted(0)),
        LabelGuess("labels are counted from 1", f"{below} in the label file", shifted(-1)),
        LabelGuess("columns start with a background class", "labels are one too low: use --label-offset 1", shifted(1)),
        LabelGuess(
            "labels are devkit numbers from 1",
            "use the devkit's own ground truth file as --labels, which is converted, or the guide's val_label.txt",
            looked_up(devkit, 1),
        ),
        LabelGuess(
            "labels are devkit numbers from 0",
            "use the devkit's own ground truth file as --labels, which is converted, or the guide's val_label.txt",
            looked_up(devkit, 0),
        ),
        LabelGuess(
            "columns are in the devkit's order",
            "the model was trained with the devkit's class order: reorder its outputs, or label in that order",
            looked_up(place, 0),
        ),
    ]
