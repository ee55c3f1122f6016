"""explain: what it says is what the pipeline does, with the origin of each part."""

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path

import pluggy
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from guardproxy import cli, hooks, hookspecs, logs, plugins
from guardproxy.errors import GuardProxyError
from guardproxy.explain import explain
from guardproxy.hookspecs import hookimpl
from guardproxy.settings import SETTINGS, ClientKey, Settings
from guardproxy.types import Action, Policy, Rule, Stage
from tests.harness import SampleGuards, message, proxy, whole
from tests.test_weaken import GUARDS, SPELLINGS

FILE = """
policy.input = { amber = "redact", birch = { action = "block", on_error = "flag" } }
policy.output = { cedar = { action = "block", mode = "shadow" } }
unscannable = { image = "block", file = "flag" }
[[keys]]
name = "team"
sha256 = "%s"
policy.input = { amber = "block" }
""" % ("0123456789abcdef" * 4)


class Acme:
    """Asks for more when a tenant is named."""

    @hookimpl
    def guardproxy_resolve_policy(self, headers: Mapping[str, str]) -> Policy | None:
        tenant = headers.get("x-tenant")
        if tenant == "broken":
            raise ValueError("secret")
        return Policy(output={"birch": Rule(Action.REDACT)}) if tenant else None


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the file, an environment without settings, and two plugins."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guardproxy.toml").write_text(FILE)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.environment, raising=False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    manager = plugins.load_plugins([("samples", SampleGuards(GUARDS)), ("acme", Acme())])
    monkeypatch.setattr(plugins, "load_plugins", lambda: manager)
    monkeypatch.setattr(logs, "configure", lambda settings: None)
    monkeypatch.setattr(hooks, "failure", lambda *_, **facts: None)  # the log is another test's


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ("explain", *arguments), prog_name="guardproxy")


def header(*lines: str) -> list[str]:
    return [word for line in lines for word in ("--header", line)]


def test_each_part_has_its_origin() -> None:
    found = run(
        *("--key", "team"),
        *header(
            "x-opper-GUARD-input: AMBER=flag", "X-Opper-Guard-Input:birch", "X-Opper-Guard-Output: cedar"
        ),
        *header("x-tenant: bank", "X-Opper-Guard-Report: items"),
    )
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.splitlines() == [
        "input",
        "├── amber: block, enforced, on_error = fail",
        "│   ├── floor [policy.input]: redact, enforced, on_error = fail (weaker: no effect)",
        "│   ├── key team: block, enforced, on_error = fail",
        "│   └── header X-Opper-Guard-Input: flag, enforced, on_error = fail (weaker: no effect)",
        "└── birch: block, enforced, on_error = fail",
        "    ├── floor [policy.input]: block, enforced, on_error = flag",
        "    └── header X-Opper-Guard-Input: flag, enforced, on_error = fail",
        "output",
        "├── cedar: flag, enforced, on_error = fail",
        "│   ├── floor [policy.output]: block, shadow, on_error = fail (weaker: no effect)",
        "│   └── header X-Opper-Guard-Output: flag, enforced, on_error = fail",
        "└── birch: redact, enforced, on_error = fail",
        "    └── plugin acme: redact, enforced, on_error = fail",
        "unscannable",
        "├── block, default: too_large",
        "│   └── input: blocks; output: blocks",
        "├── block, file: image",
        "│   └── input: blocks; output: blocks",
        "├── flag, file: file",
        "└── pass, default: audio, video, file_id, encrypted, previous_response_id",
        "report: items, header X-Opper-Guard-Report",
    ]


def test_without_headers_it_is_the_floor() -> None:
    found = run()
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert "├── amber: redact, enforced, on_error = fail" in lines
    assert "└── cedar: block, shadow, on_error = fail" in lines
    assert "│   └── input: blocks; output: does not, since no guard blocks or redacts there" in lines
    assert (
        "report: fields at /v1/responses; items at /v3/compat/openresponses; "
        "items at /v3/compat/responses; fields at /api/v1/responses"
    ) in lines
    assert lines[-1] == "key: none is given; requests here have one, see --key (team)"


def test_without_a_policy_no_guard_runs(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    found = run("--config", "empty.toml")
    assert found.stdout.splitlines()[:4] == ["input", "└── no guard runs", "output", "└── no guard runs"]
    assert "key:" not in found.stdout


SECRET = "s3cret-" * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            header("X-Opper-Guard-Input: amberr"),
            "refused: 400 unknown_guard: X-Opper-Guard-Input: unknown guard",
        ),
        (
            header("X-Opper-Guard-Input: amber=kill"),
            "refused: 400 unknown_action: X-Opper-Guard-Input: unknown",
        ),
        (
            header("X-Opper-Guard-Report: all"),
            "refused: 400 unknown_report: X-Opper-Guard-Report: unknown form.",
        ),
        (
            header("X_Opper_Guard_Input: amber"),
            "refused: 400 unknown_header: 'x_opper_guard_input' is no header of guardproxy",
        ),
        (header("x-tenant: broken"), "refused: 500 internal_error: The plugin 'acme' failed to resolve"),
        (header(f"X-Tenant {SECRET}"), "--header must be 'Name: value', with a name that HTTP allows."),
        (header(f"X Tenant: {SECRET}"), "--header must be 'Name: value'"),
        (header(f"X-Tenant : {SECRET}"), "--header must be 'Name: value'"),
        (header(f"X-Tenant: {SECRET}\nX: 1"), "--header: the value of X-Tenant has a control character"),
        (["--key", "other"], "--key: there is no [[keys]] of that name. Known: team."),
        (["--config", "none.toml"], "none.toml: cannot be read"),
    ],
)
def test_what_is_refused_is_exit_code_2(arguments: list[str], message: str) -> None:
    found = run(*arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.startswith(f"guardproxy: {message}")
    assert SECRET not in found.stderr


# The others are no HTTP: only the harness can send them.
SENDABLE = [case for case in SPELLINGS if all(n.strip() == n and "\x00" not in v for n, v in case[0])]


@pytest.mark.parametrize(("fields", "code"), SENDABLE, ids=lambda value: str(value)[:40])
async def test_it_says_what_the_proxy_does(fields: list[tuple[str, str]], code: str) -> None:
    floor = Policy({"birch": Rule(Action.REDACT)}, {"cedar": Rule(shadow=True)})
    key = ClientKey("team", hashlib.sha256(b"client").hexdigest(), Policy(output={"amber": Rule()}))
    async with proxy(whole(message("hi")), made=GUARDS, floor=floor, keys=(key,)) as client:
        got = await client.post({"input": "hi"}, fields)
        exchange = client.recorder.exchanges[0]
    manager = pluggy.PluginManager(plugins.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(SampleGuards(GUARDS), "samples")
    asked = (manager, Settings(floor=floor, keys=(key,)), "team", [f"{n}: {v}" for n, v in fields])
    if code:
        with pytest.raises(GuardProxyError) as refused:
            explain(*asked)
        assert (refused.value.status, refused.value.envelope) == (got.status, got.json)
        return
    console = Console(width=200)
    with console.capture() as captured:
        console.print(explain(*asked))
    _, at_input, at_output = re.split(r"^(?:input|output)\n", captured.get(), flags=re.MULTILINE)
    for stage, section in ((Stage.INPUT, at_input), (Stage.OUTPUT, at_output)):
        said = re.findall(r"^[├└]── (\w+): (\w+), (\w+), on_error = (\w+)$", section, re.MULTILINE)
        assert said == [
            (name, rule.action.word, "shadow" if rule.shadow else "enforced", rule.on_error.value)
            for name, rule in exchange.policy.stage(stage).items()
        ]
