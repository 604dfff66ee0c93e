"""The JSON of the guide's ``imagenet_acc_eval.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TITLE = "Overall statistical evaluation"


def guide_document(n_images: int, n_classes: int, n_in_top: Sequence[int]) -> dict[str, Any]:
    """The document; ``json.dumps`` of it is the script's file, byte for byte.

    n_in_top : images whose class is among the first 1, 2 ... classes, over all `n_images`

    The script adds up hits, divides and rounds in NumPy's float64, and prints what ``str`` makes of it: 79.3 % is
    ``79.3%``. NumPy's rounding (scale, round half to even, scale back) is not Python's, hence NumPy here too.
    """
    accuracy = np.asarray(n_in_top, np.float64) / n_images
    rows = [("Number of images", str(n_images)), ("Number of classes", str(n_classes))]
    rows += [(f"Top{k} accuracy", f"{round(share * 100, 2)!s}%") for k, share in enumerate(accuracy, 1)]
    return {"title": TITLE, "value": [{"key": key, "value": value} for key, value in rows]}
