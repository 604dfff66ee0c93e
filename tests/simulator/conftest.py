"""The simulator as a module of its own: how time, strictness and faults behave. Nothing here needs a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import pyacl_stubs
from engine.pyacl_stubs import Settings
from engine.pyacl_stubs.om import build_om

Start = Callable[..., Any]


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(**settings)`` gives the initialised module with device 0 set; strict and in virtual time unless told."""
    pyacl_stubs.reset()

    def begin(**settings: Any) -> Any:
        pyacl_stubs.configure(Settings(**{"strictness": "strict", "clock": "virtual", **settings}))
        from engine.pyacl_stubs import acl

        assert acl.init() == 0
        assert acl.rt.set_device(0) == 0
        return acl

    yield begin
    pyacl_stubs.reset()


@pytest.fixture
def tiny_om(tmp_path: Path) -> Callable[..., str]:
    """``tiny_om(batch)`` is the path of a proof model for 3 x 8 x 8 images and 10 classes."""

    def build(batch: int = 1, **options: Any) -> str:
        path = tmp_path / f"tiny{batch}.om"
        build_om("fingerprint", path, batch, image=(3, 8, 8), n_classes=10, **options)
        return str(path)

    return build
