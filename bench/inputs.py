"""The images that a benchmark runs over: those that are named, or the demo's."""

from __future__ import annotations

from pathlib import Path


def images_or_demo(data: Path | None, labels: Path | None) -> tuple[Path, Path]:
    """Folder and label file as given, or those of the demo (made once) where one of them is not."""
    if data is not None and labels is not None:
        return data, labels
    from engine.demo_data import demo_dataset

    demo = demo_dataset()
    return demo.folder, demo.labels


def passes_for(labels: Path, n_images: int) -> int:
    """How often to go over the files that `labels` lists for at least so many images."""
    n_files = sum(1 for line in labels.read_text().splitlines() if line.strip())
    return max(1, -(-n_images // n_files))
