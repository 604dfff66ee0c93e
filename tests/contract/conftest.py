"""One suite of pyACL's behaviour for the simulator and for the vendor's module, where there is a card."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import pyacl_stubs
from engine.pyacl_stubs.om import OmVariant, build_om

HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
N_CLASSES = 10
IMAGE = (3, 8, 8)


@dataclass(frozen=True)
class Card:
    """The module under test, initialised, with a folder of models for it."""

    acl: Any
    folder: Path
    is_simulated: bool

    def ok(self, result: Any) -> Any:
        """The value of a call that must succeed."""
        value, ret = result if isinstance(result, tuple) else (None, result)
        assert ret == 0, self.acl.get_recent_err_msg()
        return value

    def om(self, batch: int = 2, variant: OmVariant | None = None) -> str:
        """Path of the small proof model."""
        if not self.is_simulated:
            pytest.skip("put the .om files of a small classifier beside the test to run it on a card")
        path = self.folder / f"{batch}.om"
        build_om("fingerprint", path, batch, image=IMAGE, n_classes=N_CLASSES, variant=variant or OmVariant())
        return str(path)


#: The vendor's module takes part where it can be imported; `test_coverage` says so where it cannot.
MODULES = ["sim", "cann"] if importlib.util.find_spec("acl") else ["sim"]


@pytest.fixture(params=MODULES)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Card]:
    """The module before acl.init."""
    if request.param == "cann":
        import acl

        yield Card(acl, tmp_path, is_simulated=False)
        return
    pyacl_stubs.reset()
    pyacl_stubs.configure(pyacl_stubs.Settings(strictness="strict", clock="virtual"))
    from engine.pyacl_stubs import acl

    yield Card(acl, tmp_path, is_simulated=True)
    pyacl_stubs.reset()


@pytest.fixture
def card(fresh: Card) -> Iterator[Card]:
    """The module after acl.init and set_device(0)."""
    fresh.ok(fresh.acl.init())
    fresh.ok(fresh.acl.rt.set_device(0))
    yield fresh
    fresh.acl.rt.reset_device(0)
    fresh.acl.finalize()
