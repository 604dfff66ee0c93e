"""The cached model: made once, checked each time, whole whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.toolchain import zoo


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "engine" / "models"


def test_the_model_is_made_once_and_named_by_its_content(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zoo.lite0_onnx()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path == cache / f"efficientnet_lite0-{digest[:16]}.onnx"
    monkeypatch.setattr(zoo, "_make", lambda *args: pytest.fail("made a second time"))
    assert zoo.lite0_onnx() == path
    assert sorted(file.name for file in cache.iterdir()) == sorted([path.name, "efficientnet_lite0.json"])


@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed", "record", "not a record", "older recipe"])
def test_a_damaged_cache_is_made_again(cache: Path, damage: str) -> None:
    path = zoo.lite0_onnx()
    whole, record = path.read_bytes(), cache / "efficientnet_lite0.json"
    entry = json.loads(record.read_bytes())
    if damage == "flipped":
        path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    elif damage == "truncated":
        path.write_bytes(whole[:-1])
    elif damage == "removed":
        path.unlink()
    elif damage == "older recipe":
        path.write_bytes(b"older")
        older = {**entry, "recipe": 0, "sha256": hashlib.sha256(b"older").hexdigest()}
        record.write_text(json.dumps(older))
    else:
        record.write_text("{" if damage == "record" else '["sha256"]')
    assert zoo.lite0_onnx().read_bytes() == whole
    assert json.loads(record.read_bytes()) == entry


def _lite0_sha256(start_s: float) -> str:
    time.sleep(max(start_s - time.time(), 0.0))
    return hashlib.sha256(zoo.lite0_onnx().read_bytes()).hexdigest()


def test_two_processes_at_once_both_get_the_whole_model(cache: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        digests = pool.map(_lite0_sha256, [time.time() + 1.5] * 2, chunksize=1)
    assert len(set(digests)) == 1
    assert len(list(cache.iterdir())) == 2


def test_other_weights_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "LITE0_SHA256", "0" * 64)
    with pytest.raises(ModelError, match=r"has sha256 579344248a93e230\.\.\. where 0000000000000000\.\.\. is expected"):
        zoo.lite0_onnx()


def test_a_missing_package_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "LITE0_DISTRIBUTION", "no-such-package")
    with pytest.raises(ModelError, match="needs the package no-such-package: pip install"):
        zoo.lite0_onnx()
