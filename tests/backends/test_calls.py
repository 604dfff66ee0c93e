"""Return codes become errors with everything that is known, and with what may help."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from engine.backends.acl_calls import Acl, remedy_of
from engine.errors import DeviceError
from engine.pyacl_stubs.codes import Code, code_name


def acl_that_returns(result: object, message: str | None = "EE9999: inner\nerror") -> Acl:
    """One call, `acl.rt.malloc`, on chip 3."""
    module = SimpleNamespace(rt=SimpleNamespace(malloc=lambda size, policy: result), mdl=SimpleNamespace())
    if message is not None:
        module.get_recent_err_msg = lambda: message
    return Acl(module, 3)


def test_a_value_comes_without_its_code() -> None:
    assert acl_that_returns((4096, 0)).rt("malloc", 64, 0) == 4096
    assert acl_that_returns(0).rt("malloc", 64, 0) is None


@pytest.mark.parametrize(
    ("message", "said"), [("EE9999: inner\nerror", ": EE9999: inner error"), (None, "")], ids=["new CANN", "old CANN"]
)
def test_an_error_names_call_chip_code_and_message(message: str | None, said: str) -> None:
    """On one line; an old CANN has no message to give."""
    with pytest.raises(DeviceError) as caught:
        acl_that_returns((0, 207001), message).rt("malloc", 64, 0)
    error = caught.value
    assert str(error) == f"acl.rt.malloc failed on chip 3: RT_MEMORY_ALLOCATION (207001){said}"
    assert (error.chip, error.code, error.remedy) == (3, 207001, "restart")


def test_a_creator_that_gives_null_is_an_error() -> None:
    with pytest.raises(DeviceError, match=r"acl\.mdl\.create_desc failed on chip 3: INTERNAL_ERROR"):
        acl_that_returns(0).made(0, "acl.mdl.create_desc")


@pytest.mark.parametrize(
    ("remedy", "codes"),
    [
        ("gone", [507010, 507033, 507899, 507901]),
        ("restart", [507011, 507013, 507014, 507015, 507018, 500003, 207001, 207018]),
        ("gone", [107002, 107003, 100000, 145013]),  # wrong use: any process would repeat it
    ],
)
def test_codes_are_classified(remedy: str, codes: list[int]) -> None:
    assert {code: remedy_of(code) for code in codes} == dict.fromkeys(codes, remedy)


def test_every_documented_code_has_a_name() -> None:
    """The ranges of the reference's section 5."""
    ranges = [range(100000, 100032), range(107000, 107011), range(107011, 107021), range(207000, 207012)]
    ranges += [range(507000, 507012), range(507013, 507026), range(507029, 507042), range(145000, 145004)]
    unnamed = [code for codes in ranges for code in codes if code_name(code) == "unknown"]
    assert unnamed == []
    assert len(Code) > 150
