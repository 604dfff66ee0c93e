"""`engine doctor`: what is there, what is missing, what to do; on this host, and on made-up ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine import doctor
from engine.doctor_text import WIDTH, show
from engine.npu_smi import SmiChip, parse_info
from engine.pyacl_stubs.om import build_om
from tests.conftest import run_engine

OLD = """\
+------------------------------------------------------------------------------+
| npu-smi 21.0.3.1                     Version: 21.0.3.1                       |
+-------------------+-----------------+----------------------------------------+
| NPU     Name      | Health          | Power(W)          Temp(C)              |
| Chip    Device    | Bus-Id          | AICore(%)         Memory-Usage(MB)     |
+===================+=================+========================================+
| 0       310       | OK              | 12.8              58                   |
| 0       0         | NA              | 0                 5324 / 8192          |
+===================+=================+========================================+
"""
NEW = """\
| npu-smi 23.0.0                           Version: 23.0.0                                      |
| NPU     Name              | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device            | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
| 4       310P3             | OK              | 16.4         45                0     / 969           |
| 0       2                 | 0000:01:00.0    | 0            577  / 21534                            |
| 8       310               | Alarm           | NA           71                0     / 187           |
| 3       7                 | 0000:85:00.0    | 87           577  / 7759                             |
| NPU     Chip              | Process id      | Process name             | Process memory(MB)        |
| 8       3                 | 41233           | python3                  | 133                       |
| No running processes found in NPU 4                                                             |
"""


def test_npu_smi_of_old_and_new_drivers() -> None:
    assert parse_info(OLD) == ("21.0.3.1", [SmiChip(0, 0, 0, "310", "OK", 12.8, 58.0, 0, 5324, 8192)])
    version, (idle, busy) = parse_info(NEW)
    assert version == "23.0.0"
    assert idle == SmiChip(4, 0, 2, "310P3", "OK", 16.4, 45.0, 0, 577, 21534)
    assert busy == SmiChip(8, 3, 7, "310", "Alarm", None, 71.0, 87, 577, 7759, ("python3 (pid 41233)",))
    assert (idle.is_busy, busy.is_busy) == (False, True)


def fake_smi(folder: Path, script: str) -> dict[str, str]:
    """An environment whose `npu-smi` is this shell script."""
    path = folder / "npu-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_this_host_can_run_something_in_80_columns() -> None:
    finished = run_engine("doctor")
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert lines[-1].startswith("fit to run on: ")
    assert "sim (simulated Ascend310)" in lines[-1]
    assert {"CANN", "driver", "chips", "simulator", "host", "software"} <= set(lines)
    assert [line for line in lines if len(line) > WIDTH and " " in line.strip()] == []


def test_busy_and_sick_chips_are_named(tmp_path: Path) -> None:
    """As JSON, with what to do."""
    environment = fake_smi(tmp_path, f"cat <<'EOF'\n{NEW}EOF")
    document = json.loads(run_engine("doctor", "--json", env=environment).stdout)
    driver = document["sections"]["driver"]
    assert driver["npu-smi"]["text"] == "23.0.0, 2 chips"
    assert driver["device 2"] == {
        "mark": "ok",
        "text": "310P3, card 4 chip 0, OK, 577 / 21534 MiB, idle",
        "remedy": "",
    }
    assert driver["device 7"]["mark"] == "!!"
    assert driver["device 7"]["remedy"] == "npu-smi info -t health -i 8 -c 3"


def test_a_driver_that_fails_is_said(tmp_path: Path) -> None:
    environment = fake_smi(tmp_path, "echo 'dcmi module initialize failed. ret is -8005' >&2; exit 1")
    finished = run_engine("doctor", env=environment)
    assert finished.returncode == 0
    assert "dcmi module initialize failed" in " ".join(finished.stdout.split())


def test_cann_that_is_not_sourced_is_one_line_to_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "ascend-toolkit" / "set_env.sh"
    script.parent.mkdir()
    script.touch()
    monkeypatch.setattr(doctor, "CANN_ROOTS", (tmp_path,))
    diagnosis = doctor.diagnose(None, 16)
    (line,) = (line for line in diagnosis.sections[0].lines if line.name == "pyACL")
    assert (line.mark, line.remedy) == ("!!", f"source {script}")
    assert f"source {script}" in " ".join(show(diagnosis).split())


def test_pyacl_is_asked_for_its_chips() -> None:
    """The simulator under the vendor's name stands for CANN: chips with their memory, one of them lost."""
    from engine import pyacl_stubs

    environment = {
        **os.environ,
        "PYTHONPATH": f"{Path(pyacl_stubs.__file__).parent / 'importable'}:{Path(pyacl_stubs.__file__).parents[2]}",
        "ENGINE_SIM_FAULTS": "acl.rt.set_device:2=507033",
    }
    document = json.loads(run_engine("doctor", "--json", env=environment).stdout)
    chips = document["sections"]["chips"]
    assert chips["Ascend"]["text"] == "4 x Ascend310"
    assert chips["device 0"]["text"] == "7759 of 7759 MiB free"
    assert "RT_DEV_SETUP_ERROR (507033)" in chips["device 1"]["text"]
    assert document["usable"]["cann"] == "Ascend310, devices 0,2,3"


def test_a_model_that_nothing_can_run_is_exit_code_4(tmp_path: Path) -> None:
    build_om("fingerprint", tmp_path / "p3.om", 4, soc="Ascend310P3")
    finished = run_engine("doctor", "--model", tmp_path / "p3.om", "--batch", 4)
    assert finished.returncode == 4
    text = " ".join(finished.stdout.split())
    assert "was made for Ascend310P3 but --profile simulates an Ascend310" in text
    assert text.endswith("fit to run on: nothing")
    build_om("fingerprint", tmp_path / "ok.om", 4)
    assert run_engine("doctor", "--model", tmp_path / "ok.om", "--batch", 4).returncode == 0
