"""Pages that benchmarks write their last answer into, so that no figure is copied by hand."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def replace_table(page: str, name: str, text: str) -> None:
    """Put `text` between the comments ``<!-- NAME: table -->`` and ``<!-- NAME: end -->`` of a page.

    page : from the root of the checkout. SystemExit where it lacks the comments.
    """
    path, marks = ROOT / page, (f"<!-- {name}: table -->", f"<!-- {name}: end -->")
    before, _, rest = path.read_text().partition(marks[0])
    _, found, after = rest.partition(marks[1])
    if not found:
        raise SystemExit(f"{page} lacks the comments {marks[0]} and {marks[1]}, between which the table stands")
    path.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}")
