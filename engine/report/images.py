"""Which images were not recognised: confused classes, and thumbnails of the worst."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.accuracy.measured import Images, read_measured
from engine.errors import EngineError
from engine.report.content import Picture

#: Pictures on a page: 24 of 96 pixels are some 100 KB.
MOST_PICTURES = 24
SIDE = 160
#: Larger files and images are not opened for a thumbnail.
MOST_BYTES = 32 << 20
MOST_PIXELS = 50_000_000
JPEG_QUALITY = 70


@dataclass(frozen=True)
class Mistakes:
    """n_wrong : of all images; pairs : (label, first class, images), most frequent first; worst : samples, by rank"""

    n_wrong: int
    pairs: list[tuple[int, int, int]]
    worst: list[int]
    images: Images


def find_mistakes(folder: Path, offset: int) -> Mistakes | None:
    """From predictions.csv; None where there is none or the run was interrupted. offset : of labels to the model's."""
    try:
        images = read_measured(folder / "predictions.csv").images
    except EngineError:
        return None
    if images is None:
        return None
    wrong = [i for i in range(len(images.keys)) if images.ranks[i] != 1]
    pairs = Counter((int(images.labels[i]), int(images.top_ids[i, 0]) - offset) for i in wrong)
    # No rank at all is the worst, then the farthest.
    worst = sorted(wrong, key=lambda i: (images.ranks[i] != 0, -int(images.ranks[i])))
    return Mistakes(len(wrong), [(a, b, n) for (a, b), n in pairs.most_common()], worst, images)


def pictures_of(mistakes: Mistakes, document: Mapping[str, Any], samples: Sequence[int]) -> list[Picture]:
    """Thumbnails with what was expected and what was found."""
    offset = int(document["model"].get("label_offset") or 0)
    root = Path(str(document["config"].get("data") or ""))
    found = []
    for i in samples[:MOST_PICTURES]:
        name, rank = mistakes.images.names[i], int(mistakes.images.ranks[i])
        first = int(mistakes.images.top_ids[i, 0]) - offset
        said = f"found {first}, right at rank {rank}" if rank else "no valid prediction"
        source, why = thumbnail(root, name)
        lines = [f"class {mistakes.images.labels[i]}", said, *([why] if why else [])]
        found.append(Picture(name, source, lines))
    return found


def thumbnail(root: Path, name: str) -> tuple[str, str]:
    """(data URI, why not): a small JPEG of the image, which must lie below `root`."""
    from PIL import Image

    path = root / name
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            return "", "outside of the data"
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return "", "no file of its own"
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                return "", f"{image.width} x {image.height} pixels"
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = image.convert("RGB")
            small.thumbnail((SIDE, SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return "", f"cannot be shown: {type(error).__name__}"
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), ""
