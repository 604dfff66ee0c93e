"""Getting the simulator: configure, install, environment, foreign scripts, the switches of what is uncertain."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine import pyacl_stubs
from engine.pyacl_stubs import ProfileError, Settings, load_profile, profile_names, settings
from engine.pyacl_stubs.om import OmVariant, build_om
from engine.pyacl_stubs.settings import settings_from_environment
from tests.simulator.conftest import Start
from tests.simulator.test_time import Bench

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))


def run_script(
    script: Path, *arguments: str, options: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """``python -m engine.pyacl_stubs`` in a process of its own."""
    command = [sys.executable, "-m", "engine.pyacl_stubs", *options, str(script), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_a_program_of_the_usual_shape_runs_unchanged(script: Path, tmp_path: Path) -> None:
    """Strict mode finds nothing; the program checks its own results."""
    om, dynamic = tmp_path / "m.om", tmp_path / "dynamic.om"
    build_om("fingerprint", om, 2, image=(3, 8, 8))
    build_om("fingerprint", dynamic, 4, image=(3, 8, 8), variant=OmVariant(gears=(1, 2, 4)))
    options = ("--strictness", "strict", "--fail-on-report", "--profile", "squeezenet1_1-310")
    done = run_script(script, str(om), str(dynamic), options=options)
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout


def test_misuse_gives_the_documented_codes(tmp_path: Path) -> None:
    """What a card would answer, in documented mode: the program goes on, and nothing is reported."""
    om = tmp_path / "m.om"
    build_om("fingerprint", om, 2, image=(3, 8, 8))
    done = run_script(Path(__file__).parent / "programs" / "misuse.py", str(om))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "malloc before init": [0, 100001],
        "init twice": [0, 100002],
        "malloc without a device": [0, 107002],
        "load without a device": [0, 107002],
        "a device that is not there": 107001,
        "a model that is not there": [0, 145002],
        "more than dst_max": 100000,
        "the wrong direction": 107000,
        "host to host, async": 207000,
        "freed twice": [0, 100000],
        "a thread without context": [0, 107002],
        "an empty description": 0,
        "an unknown model": 100011,
        "empty datasets": 100017,
        "a gear of a static model": 100019,
        "a stream of another context": 107003,
        "a model of another context": 107004,
        "a report nobody subscribed": 107012,
        "a callback nobody subscribed": 107015,
        "a stream destroyed twice": [0, 107017],
        "a context that is none": 107017,
        "devices reset twice": [0, 0, 107001],
        "a context of a reset device": 107017,
        "finalize twice": [0, 100037],
        "after finalize": 100001,
    }


def test_a_script_gets_its_arguments_and_its_exit_status(tmp_path: Path) -> None:
    """sys.argv, __main__, sys.exit; the environment configures."""
    script = tmp_path / "facts.py"
    script.write_text(
        "import sys, acl\n"
        "assert __name__ == '__main__'\n"
        "acl.init()\n"
        "print(sys.argv[1:], acl.rt.get_device_count(), acl.get_soc_name())\n"
        "sys.exit(3)\n"
    )
    environment = {"ENGINE_SIM_N_DEVICES": "8", "ENGINE_SIM_PROFILE": "resnext101_32x8d-310p3"}
    done = run_script(script, "--flag", "x", **environment)
    assert done.returncode == 3
    assert done.stdout == "['--flag', 'x'] (8, 0) Ascend310P3\n"


def test_reports_can_fail_a_script(tmp_path: Path) -> None:
    """--fail-on-report: exit status 70, the leak on stderr."""
    script = tmp_path / "leak.py"
    script.write_text("import acl\nacl.init()\nacl.rt.set_device(0)\nacl.rt.malloc(64, 0)\nacl.finalize()\n")
    done = run_script(script, options=("--strictness", "strict", "--fail-on-report"))
    assert done.returncode == 70
    assert "device 0 memory" in done.stderr
    assert "leak.py:4" in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "media.dvpp_malloc",
            "acl.media.dvpp_malloc is not simulated (images and video on the chip, DVPP): "
            "decode and resize on the host",
        ),
        ("rt.memcpy2d", "acl.rt.memcpy2d is a function of pyACL that is not simulated"),
        ("rt.syncronize_stream", "pyACL has no acl.rt.syncronize_stream, did you mean 'synchronize_stream'?"),
        ("rt.nothing_of_the_kind", "pyACL has no acl.rt.nothing_of_the_kind"),
    ],
)
def test_a_function_that_is_not_there_says_so(name: str, message: str) -> None:
    """An AttributeError, so that hasattr is False."""
    from engine.pyacl_stubs import acl

    module, _, function = name.partition(".")
    with pytest.raises(AttributeError, match=f"^{re.escape(message)}$"):
        getattr(getattr(acl, module), function)
    assert not hasattr(getattr(acl, module), function)


def test_install_makes_import_acl_give_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes and modules."""
    for name in ("acl", "acl.rt", "acl.mdl", "acl.util"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    pyacl_stubs.install()
    import acl
    from acl.rt import malloc

    assert acl.rt.malloc is malloc
    assert importlib.import_module("acl.media") is acl.media
    for name in [name for name in sys.modules if name.partition(".")[0] == "acl"]:
        monkeypatch.delitem(sys.modules, name)


def test_configure_comes_before_init(start: Start) -> None:
    """Later it is an error, and an unknown profile always is."""
    with pytest.raises(ProfileError, match=r"no profile 'x'; shipped: .*resnext101_32x8d-310"):
        pyacl_stubs.configure(Settings(profile="x"))
    start()
    with pytest.raises(RuntimeError, match="before"):
        pyacl_stubs.configure(Settings())


def test_settings_of_the_environment() -> None:
    """Every type of field; nonsense names the variable."""
    environment = {
        "ENGINE_SIM_N_DEVICES": "2",
        "ENGINE_SIM_HOLD_GIL": "0",
        "ENGINE_SIM_JITTER": "0.01",
        "ENGINE_SIM_STRICTNESS": "strict",
    }
    assert settings_from_environment(environment) == Settings(
        n_devices=2, hold_gil=False, jitter=0.01, strictness="strict"
    )
    with pytest.raises(ValueError, match="ENGINE_SIM_SEED='x'"):
        settings_from_environment({"ENGINE_SIM_SEED": "x"})


def test_profiles_say_what_is_published() -> None:
    """All can be loaded; published sizes are exact, others lie between in time per batch."""
    assert len(profile_names()) >= 25
    for name in profile_names():
        profile = load_profile(name)
        assert len(profile.execute_ms) >= 3
        assert profile.soc in ("Ascend310", "Ascend310P3")
        assert "ModelZoo" in profile.source
    profile = load_profile("resnext101_32x8d-310")
    published = {1: 144.766, 4: 167.46, 8: 167.521, 16: 165.952, 32: 108.28}
    for batch, rate in published.items():
        assert profile.execute_ns(batch) == pytest.approx(batch / rate * 1e9, abs=1)
    assert profile.execute_ns(4) < profile.execute_ns(6) < profile.execute_ns(8)
    assert profile.execute_ns(64) == 2 * profile.execute_ns(32)
    assert profile.memory_bytes == 7759 << 20


def test_a_profile_of_the_user(tmp_path: Path) -> None:
    """A path that ends in .toml; milliseconds instead of rates; what is missing is named."""
    path = tmp_path / "mine.toml"
    path.write_text('model = "m"\nsoc = "Ascend310"\nsource = "me"\n[execute]\nms = { "2" = 5.0 }\n')
    assert load_profile(str(path)).execute_ns(2) == 5_000_000
    path.write_text('model = "m"\n')
    with pytest.raises(ProfileError, match="soc"):
        load_profile(str(path))


def test_an_om_can_bring_its_rates(start: Start, tiny_om: Callable[..., str]) -> None:
    """The profile that the file names holds for its executes."""

    bench = Bench(start(strictness="documented"), tiny_om(1, variant=OmVariant(profile="squeezenet1_1-310")))
    stream = bench.stream()
    first = bench.mark(stream)
    bench.execute(stream)
    last = bench.mark(stream)
    assert bench.acl.rt.synchronize_stream(stream) == 0
    assert bench.ms(first, last) == pytest.approx(1000 / 1147.43, abs=1e-4)


class TestUncertain:
    """What the documentation leaves open, both ways."""

    def test_pageable_copies_are_queued_or_block(self, start: Start) -> None:
        """A change after the call is copied in the one case, not in the other."""
        for mode, expected in (("async", 9), ("blocks", 7)):
            pyacl_stubs.reset()
            acl = start(strictness="documented", pageable_async=mode)
            block, host = acl.rt.malloc(64, 0)[0], np.full(64, 7, np.uint8)
            assert acl.rt.memcpy_async(block, 64, host.ctypes.data, 64, 1, 0) == 0
            host[:] = 9
            assert acl.rt.synchronize_stream(0) == 0
            assert acl.rt.memcpy(host.ctypes.data, 64, block, 64, 2) == 0
            assert host[0] == expected

    def test_host_to_host_fails_at_the_call_or_at_execution(self, start: Start) -> None:
        """207000."""
        for mode, codes in (("call", (207000, 0)), ("execution", (0, 207000))):
            pyacl_stubs.reset()
            acl = start(strictness="documented", host_to_host_async=mode)
            hosts = [acl.rt.malloc_host(64)[0] for _ in range(2)]
            call = acl.rt.memcpy_async(hosts[0], 64, hosts[1], 64, 0, 0)
            assert (call, acl.rt.synchronize_stream(0)) == codes

    @pytest.mark.parametrize("code", [507046, 107020])
    def test_the_code_of_a_stream_timeout(self, start: Start, tiny_om: Callable[..., str], code: int) -> None:
        """Either."""

        bench = Bench(start(strictness="documented", stream_timeout_code=code), tiny_om(16))
        bench.execute(0)
        assert bench.acl.rt.synchronize_stream_with_timeout(0, 1) == code

    @pytest.mark.parametrize("code", [545001, 100012])
    def test_the_code_of_a_wrong_soc(self, start: Start, tiny_om: Callable[..., str], code: int) -> None:
        """Either."""
        acl = start(strictness="documented", soc_mismatch_code=code)
        assert acl.mdl.load_from_file(tiny_om(soc="Ascend310P3")) == (0, code)

    @pytest.mark.parametrize("code", [107015, 107011])
    def test_the_code_of_a_callback_without_thread(self, start: Start, code: int) -> None:
        """Either."""
        assert start(strictness="documented", unsubscribed_code=code).rt.launch_callback(print, None, 1, 0) == code

    @pytest.mark.parametrize("is_consumed", [True, False])
    def test_reading_the_message_consumes_it(self, start: Start, is_consumed: bool) -> None:
        """Or not."""
        acl = start(strictness="documented", err_msg_is_consumed=is_consumed)
        acl.rt.free(1)
        assert acl.get_recent_err_msg() is not None
        assert (acl.get_recent_err_msg() is None) == is_consumed

    @pytest.mark.parametrize("code", [507012, 107019])
    def test_the_code_of_a_report_that_does_not_come(self, start: Start, code: int) -> None:
        """Either, on a thread that is subscribed."""
        rt = start(strictness="documented", report_timeout_code=code).rt
        assert rt.subscribe_report(threading.get_ident(), 0) == 0
        assert rt.process_report(1) == code

    @pytest.mark.parametrize("code", [100000, 145012])
    def test_the_code_of_a_buffer_that_is_too_small(self, start: Start, tiny_om: Callable[..., str], code: int) -> None:
        """Either."""
        bench = Bench(start(strictness="documented", buffer_size_code=code), tiny_om(16))
        buffer = bench.acl.mdl.get_dataset_buffer(bench.sets[0], 0)
        bench.acl.update_data_buffer(buffer, bench.acl.get_data_buffer_addr(buffer), 64)
        assert bench.acl.mdl.execute(bench.models[0], *bench.sets) == code

    @pytest.mark.parametrize("code", [507000, 100001])
    def test_the_code_in_a_forked_child(self, start: Start, code: int) -> None:
        """Either."""
        acl = start(strictness="documented", forked_code=code)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if acl.rt.malloc(64, 0) == (0, code) else 1)
        assert os.waitpid(pid, 0)[1] == 0

    @pytest.mark.parametrize("tells", [True, False])
    def test_an_event_tells_the_errors_of_its_stream(
        self, start: Start, tiny_om: Callable[..., str], tells: bool
    ) -> None:
        """Or only the stream does."""
        faults = "acl.mdl.execute_async:1=507011@queue"
        bench = Bench(start(strictness="documented", event_sync_tells_errors=tells, faults=faults), tiny_om())
        bench.execute(0)
        event = bench.mark(0)
        codes = bench.acl.rt.synchronize_event(event), bench.acl.rt.synchronize_stream(0)
        assert codes == ((507011, 0) if tells else (0, 507011))

    @pytest.mark.parametrize("error", [TypeError, RuntimeError])
    def test_what_wrong_arguments_raise(self, start: Start, error: type[Exception]) -> None:
        """Either, for types and for their number."""
        acl = start(strictness="documented", argument_error=error.__name__)
        for arguments in ((None, 0), (64,), (64, 0, 0)):
            with pytest.raises(error, match=r"acl\.rt\.malloc"):
                acl.rt.malloc(*arguments)

    @pytest.mark.parametrize("hold", [True, False])
    def test_a_blocking_execute_holds_the_gil(self, start: Start, tiny_om: Callable[..., str], hold: bool) -> None:
        """Or lets other threads run: one that counts stands still, or does not."""
        bench = Bench(start(strictness="documented", clock="real", hold_gil=hold), tiny_om(16))
        times: list[int] = []
        is_over = threading.Event()

        def tick() -> None:
            while not is_over.wait(0.001):
                times.append(time.perf_counter_ns())

        ticker = threading.Thread(target=tick)
        ticker.start()
        began_ns = time.perf_counter_ns()
        assert bench.acl.mdl.execute(bench.models[0], *bench.sets) == 0  # 96 ms
        ended_ns = time.perf_counter_ns()
        is_over.set()
        ticker.join()
        middle = [t for t in times if began_ns + 20_000_000 < t < ended_ns - 20_000_000]
        assert (len(middle) == 0) == hold

    def test_functions_of_newer_versions_can_be_absent(self, start: Start) -> None:
        """Programs that look before they call find nothing; afterwards all are back."""
        acl = start(strictness="documented", absent="acl.get_recent_err_msg, acl.rt.create_stream_with_config")
        assert not hasattr(acl, "get_recent_err_msg")
        assert not hasattr(acl.rt, "create_stream_with_config")
        pyacl_stubs.reset()
        assert hasattr(acl, "get_recent_err_msg")
        with pytest.raises(ValueError, match=r"absent: there is no acl\.rt\.fly"):
            pyacl_stubs.configure(Settings(absent="acl.rt.fly"))

    def test_every_switch_is_tested(self) -> None:
        """This class names each field under "uncertain"."""
        source = Path(settings.__file__).read_text().partition("# --- uncertain")[2]
        fields = re.findall(r"^    (\w+): \w+ = ", source.partition("def __post_init__")[0], re.MULTILINE)
        assert len(fields) >= 12
        tested = inspect.getsource(TestUncertain)
        assert [name for name in [*fields, "hold_gil"] if f"{name}=" not in tested] == []
