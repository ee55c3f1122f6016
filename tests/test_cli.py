"""cli: exit codes, options from the table, and output without secrets."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pluggy
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from guardproxy import cli, config, hookspecs, logs, plugins, serve
from guardproxy.auth import Credentials
from guardproxy.doubts import doubts
from guardproxy.errors import ConfigError
from guardproxy.hooks import Hooks
from guardproxy.hookspecs import hookimpl
from guardproxy.settings import SETTINGS, Settings
from guardproxy.types import Detector, Guard, Match, Stage
from tests.samples import Acme

SECRET = "sk-" + "canary" * 4
DIGEST = "ab" * 32


class Local(Detector):
    name = "cards"
    reach: int | None = 20
    inline_below = 100

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[] for _ in texts]


class Blocks(Local):
    name = ""
    reach = None
    inline_below = 0


class Plugin:
    @hookimpl
    def guardproxy_register_settings(self) -> type[msgspec.Struct]:
        return Acme

    @hookimpl
    def guardproxy_register_guards(self, settings: Settings) -> list[Guard]:
        return [
            Guard("pii", (Local(), Blocks()), summary="Personal data."),
            Guard("late", (Local(),), frozenset({Stage.OUTPUT})),
        ]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, an environment without settings, and one plugin."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.environment, raising=False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    manager = plugins.load_plugins([("acme", Plugin())])
    monkeypatch.setattr(plugins, "load_plugins", lambda: manager)
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `serve` was called with."""
    calls: list[Settings] = []

    def run(settings: Settings) -> int:
        calls.append(settings)
        return 0

    monkeypatch.setattr(serve, "run", run)
    monkeypatch.setattr(logs, "configure", lambda settings: None)
    monkeypatch.setattr(logs, "hook_uncaught", lambda: None)
    return calls


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli.cli, arguments, env=environ, prog_name="guardproxy")


def test_serve_has_an_option_for_each_scalar(served: list[Settings]) -> None:
    values = {
        "upstream_api_key": SECRET,
        "upstream": "http://x/v1",
        "host": "::1",
        "upstream_proxy": "http://proxy:1",
        "upstream_ca_file": __file__,
        "placeholder": "***",
        "log_level": "debug",
        "log_format": "json",
        "trace": "console",
        "capture_content": "off",
        "profile": "opper",
        "auth": "none",
    }
    values = {setting.name: values.get(setting.name, "7") for setting in SETTINGS}
    arguments = [word for setting in SETTINGS for word in (setting.flag, values[setting.name])]
    assert run("serve", *arguments).exit_code == 0
    for setting in SETTINGS:
        assert getattr(served[0], setting.name) == setting.kind(values[setting.name]), setting.name


@pytest.mark.parametrize("command", [["serve"], ["config", "show"], ["config", "check"]])
def test_help_names_each_scalar_with_its_variable(command: list[str]) -> None:
    found = run(*command, "--help", COLUMNS="200", TERMINAL_WIDTH="200")
    text = "".join(character for character in found.output if character.isalnum() or character in "-_")
    assert found.exit_code == 0
    for setting in SETTINGS:
        assert setting.flag in text
        assert setting.environment in text


def test_help_breaks_no_name_at_80_columns() -> None:
    text = run("serve", "--help", COLUMNS="80", TERMINAL_WIDTH="80").output
    for setting in SETTINGS:
        assert f"[{setting.environment};" in text
        assert all(word in text for word in setting.scalar.words)
    assert "https://api.openai.com/v1]" in text


def test_serve_says_first_that_it_loads(served: list[Settings]) -> None:
    with capture_logs() as logged:
        assert run("serve", "--upstream", "https://a.example/v1").exit_code == 0
    assert logged[0]["event"] == "loading"
    assert logged[0]["upstream"] == "https://a.example/v1"
    assert logged[0]["guards"] == ["late", "pii"]


def test_the_file_in_the_folder_is_read(here: Path, served: list[Settings]) -> None:
    (here / "guardproxy.toml").write_text("port = 9\n")
    assert run("serve").exit_code == 0
    (here / "other.toml").write_text("port = 10\n")
    assert run("serve", "--config", "other.toml").exit_code == 0
    assert run("serve", "--config", "other.toml", GUARDPROXY_PORT="11").exit_code == 0
    assert [settings.port for settings in served] == [9, 10, 11]


def test_serve_passes_the_exit_code_on(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "run", lambda settings: 1)
    assert run("serve").exit_code == 1


@pytest.mark.parametrize("command", [["serve"], ["config", "show"], ["config", "check"], ["plugins"]])
@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("prot = 1", "guardproxy.toml: 'prot' is not known. Did you mean 'port'?"),
        ("policy.input = { pi = 'flag' }", "policy.input: unknown guard 'pi'. Guards for input: pii."),
        ("policy.input = { late = 'flag' }", "policy.input: the guard 'late' does not serve the input."),
        (
            f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\npolicy.output = {{ x = 'flag' }}",
            "the 1st [[keys]] (\"a\"): policy.output: unknown guard 'x'. Guards for output: late, pii.",
        ),
        ("[plugins.acme]\npresets = 1", "'presets' is not known. Did you mean 'preset'?"),
    ],
)
def test_bad_settings_are_exit_code_2(here: Path, command: list[str], toml: str, message: str) -> None:
    (here / "guardproxy.toml").write_text(toml)
    found = run(*command)
    assert found.exit_code == 2
    assert found.stderr.startswith("guardproxy: ")
    assert message in found.stderr
    assert found.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["serve", "--prot", "1"], ["nothing"], ["config", "check", "--auth", "x"]]
)
def test_bad_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_check_says_ok() -> None:
    found = run("config", "check", "--port", "0")
    assert (found.exit_code, found.output) == (0, "ok\n")


def test_what_is_doubtful_in_the_settings_is_told(served: list[Settings]) -> None:
    problem = next(doubts(Settings(upstream="https://api.example.com")))
    found = run("config", "check", "--upstream", "https://api.example.com")
    assert (found.exit_code, found.stdout) == (0, "ok\n")
    assert found.stderr == f"guardproxy: warning: {problem}\n"
    with capture_logs() as lines:
        assert run("serve", "--upstream", "https://api.example.com").exit_code == 0
    assert {"event": "doubtful", "log_level": "warning", "problem": problem} in lines


def test_check_says_that_a_model_is_not_installed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(here)
    (here / "guardproxy.toml").write_text('[guards.pii]\npipeline = "no_such_pipeline"\n')
    found = run("config", "check")
    assert found.exit_code == 2
    assert "'pii': the spaCy pipeline 'no_such_pipeline' is not installed" in found.stderr


class Environment:
    """A plugin that reads the environment, too."""

    @hookimpl
    def guardproxy_check(self) -> list[str]:
        if os.environ.get("ACME_URL") == "wrong":
            raise ConfigError("ACME_URL must be a URL.")
        return ["ACME_URL is not encrypted."]

    @hookimpl
    def guardproxy_startup(self) -> None:
        raise AssertionError("a check opens nothing")


def test_check_asks_plugins_about_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = pluggy.PluginManager("guardproxy")
    manager.add_hookspecs(hookspecs)
    manager.register(Environment(), "acme")
    monkeypatch.setattr(plugins, "load_plugins", lambda: manager)
    found = run("config", "check")
    assert (found.exit_code, found.stdout) == (0, "ok\n")
    assert found.stderr == "guardproxy: warning: The plugin 'acme': ACME_URL is not encrypted.\n"
    found = run("config", "check", ACME_URL="wrong")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == "guardproxy: The plugin 'acme': ACME_URL must be a URL.\n"


@pytest.mark.parametrize(
    ("variable", "value", "plugin"),
    [
        ("OTEL_TRACES_EXPORTER", "pigeon", "tracing"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s", "tracing"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "1m", "metrics"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "metrics"),
    ],
)
def test_check_says_of_the_environment_what_a_start_says(
    here: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, plugin: str
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(variable, value)
    found = run("config", "check")
    assert found.exit_code == 2
    assert found.stderr.startswith(f"guardproxy: The plugin '{plugin}': {variable} = '{value}' must be ")
    with pytest.raises(ConfigError) as caught:
        Hooks(plugins.load_plugins(), Settings()).startup()
    assert found.stderr == f"guardproxy: {caught.value}\n"


def test_show_without_a_file_is_toml_too() -> None:
    table = tomllib.loads(run("config", "show").output)
    assert table["plugins"]["acme"] == {
        "preset": "default",
        "address": "",
        "limits": {},
        "shares": {"a": 0.5},
    }
    assert {s.name for s in SETTINGS if s.default is not None} <= set(table)


def test_plugins_lists_guards_and_detectors() -> None:
    found = run("plugins")
    assert found.exit_code == 0
    assert found.output.splitlines() == [
        "acme (no distribution)",
        "  hooks: guardproxy_register_guards, guardproxy_register_settings",
        "  guard pii: input, output - Personal data.",
        "    detector cards: local, reach 20, inline below 100",
        "    detector Blocks: blockwise",
        "  guard late: output",
        "    detector cards: local, reach 20, inline below 100",
    ]


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_completion_prints_a_script(shell: str) -> None:
    found = run("completion", shell)
    assert found.exit_code == 0
    assert "_GUARDPROXY_COMPLETE" in found.output
    assert "guardproxy" in found.output


@pytest.mark.parametrize(
    ("arguments", "called"),
    [([], (None, False)), (["--upstream", "http://x", "--serve"], ("http://x", True))],
)
def test_demo_is_called_and_its_code_passed_on(
    arguments: list[str], called: tuple[str | None, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str | None, bool]] = []

    def run_demo(upstream: str | None, stay: bool) -> int:
        calls.append((upstream, stay))
        return 1

    monkeypatch.setitem(sys.modules, "guardproxy.demo", SimpleNamespace(run_demo=run_demo))
    assert run("demo", *arguments).exit_code == 1
    assert calls == [called]


def test_python_m_guardproxy_is_the_command() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "guardproxy", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0
    assert found.stdout.startswith("guardproxy, version ")


def test_a_key_is_made_that_the_file_then_knows(here: Path) -> None:
    made = run("keys", "add", "team-a")
    assert made.exit_code == 0
    (key,) = re.findall(r"^gp_[A-Za-z0-9_-]{43}$", made.stderr, re.MULTILINE)
    assert key not in made.stdout
    (here / "guardproxy.toml").write_text(f"port = 1{made.stdout}")
    found = config.load_settings(here / "guardproxy.toml", {}, {}, {}).keys
    assert Credentials(Settings(keys=found)).identify({"authorization": f"Bearer {key}"}) is found[0]
    assert found[0].name == "team-a"
    assert key not in run("keys", "add", "team-a").stderr


def test_the_name_of_a_key_is_checked() -> None:
    made = run("keys", "add", "team a")
    assert (made.exit_code, made.stdout) == (2, "")
    assert "NAME must be 1 to 64 characters" in made.stderr
