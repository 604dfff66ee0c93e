"""Published accuracies: `references.csv`, taken from the weights' own metadata in torchvision 0.29.2.

torchvision's documentation pages (the column source) are generated from the same metadata. The guide's own model is
ResNeXt101_32x8d with IMAGENET1K_V1: 79.312 and 94.526. All are over ImageNet's 50,000 validation images.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from importlib import resources

from engine.errors import ConfigError
from engine.suggest import unknown

#: Images of ImageNet's validation set, which the published figures are over.
VALIDATION_IMAGES = 50_000
#: The engine's own names of models in the table.
ALIASES = {"lite0": "efficientnet_lite0"}
#: Names that are suggested for an unknown one.
MOST_HINTS = 3


@dataclass(frozen=True)
class Reference:
    """An accuracy to compare with. top1, top5 : percent; None where it was not published"""

    name: str
    top1: float | None
    top5: float | None
    source: str
    n_images: int = VALIDATION_IMAGES

    def top(self, k: int) -> float | None:
        """Percent of the first `k` classes, 1 or 5."""
        return {1: self.top1, 5: self.top5}[k]


def references() -> dict[tuple[str, str], Reference]:
    """{(model, weights): reference} of the table that ships with the engine."""
    text = resources.files("engine.accuracy").joinpath("references.csv").read_text()
    return {
        (row["model"], row["weights"]): Reference(
            f"{row['model']} {row['weights']}",
            float(row["top1"]),
            float(row["top5"]) if row["top5"] else None,
            row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    }


def find_reference(model: str, weights: str | None = None) -> Reference:
    """The published accuracy of a model, of its first weights where `weights` is None.

    Raises ConfigError with the nearest name for what is not in the table.
    """
    model = ALIASES.get(model, model)
    table = references()
    of_model = {key[1]: reference for key, reference in table.items() if key[0] == model.lower()}
    if not of_model:
        names = {key[0] for key in table}
        near = sorted(name for name in names if name.startswith(model.lower()))
        near = near or difflib.get_close_matches(model.lower(), names, n=3)
        hint = f", did you mean {' or '.join(near[:MOST_HINTS])}?" if near else ":"
        raise ConfigError(
            f"unknown reference {model!r}{hint} the table has {len(names)} models by torchvision's names; "
            "or give --top1 and --top5, or another run's folder"
        )
    if weights is None:
        return next(iter(of_model.values()))
    if weights not in of_model:
        raise unknown(f"weights of {model}", weights, of_model)
    return of_model[weights]


def numbers_reference(text: str) -> Reference | None:
    """``79.312`` or ``79.312,94.526`` as a reference; None for a text that is no number."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        return None
    return custom_reference(numbers[0], numbers[1] if len(numbers) > 1 else None) if len(numbers) <= 2 else None


def custom_reference(top1: float | None, top5: float | None) -> Reference:
    """Numbers from the command line, in percent; ConfigError for what is no accuracy."""
    for name, value in (("--top1", top1), ("--top5", top5)):
        if value is not None and not 1 <= value <= 100:
            raise ConfigError(f"{name} {value:g} is no percentage: needed 1 to 100, such as 79.312")
    return Reference("given numbers", top1, top5, "the command line")
