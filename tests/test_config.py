"""Where settings come from: precedence, checks, tables, and messages without values."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.config import load_settings, load_with_origins
from guardproxy.errors import ConfigError
from guardproxy.settings import (
    SETTINGS,
    ClientKey,
    LimitSettings,
    Setting,
    Settings,
)
from guardproxy.types import Action, OnError, Policy, Rule

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"
SECRET = "sk-" + "canary" * 4
DIGEST = "ab" * 32
DOOR = "[[front_doors]]\npath = '/a'\nprofile = 'opper'\n"
UPSTREAM = "[[upstreams]]\nname = 'a'\nurl = 'https://a'\n"
NUMBERS = [setting for setting in SETTINGS if setting.kind is not str]


class Inner(msgspec.Struct):
    kind: Literal["wide", "narrow"] | None = None
    name: Annotated[str, msgspec.Meta(pattern="^[A-Z]+$", max_length=3)] = "A"
    depth: Annotated[int, msgspec.Meta(multiple_of=2)] = 2


class Word(msgspec.Struct):
    word: str


class Line(msgspec.Struct):
    words: list[Word] = []


class Acme(msgspec.Struct, frozen=True):
    preset: Literal["default", "strict"] = "default"
    api_token: str | None = None
    inner: Inner | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    lines: list[Line] | None = None
    rows: list[list[Word]] = []


TYPES: dict[str, type[msgspec.Struct]] = {"acme": Acme}


def load(
    tmp_path: Path,
    toml: str = "",
    environ: dict[str, str] | None = None,
    types: dict[str, type[msgspec.Struct]] | None = None,
    **flags: object,
) -> Settings:
    file = tmp_path / "guardproxy.toml"
    file.write_text(toml)
    return load_settings(file, environ or {}, flags, TYPES if types is None else types)


def problem(tmp_path: Path, toml: str) -> str:
    """What is said to be wrong in the file; its place comes first."""
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, toml, {"WORD": "canary"})
    said = str(raised.value)
    assert "canary" not in said
    assert said.startswith(f"{tmp_path / 'guardproxy.toml'}: ")
    return said.removeprefix(f"{tmp_path / 'guardproxy.toml'}: ")


def test_the_docs_examples_load(tmp_path: Path) -> None:
    class Pii(msgspec.Struct):
        preset: list[str]
        thresholds: dict[str, float]

    examples = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    environ = {"OPENAI_API_KEY": SECRET, "VALKEY_PASSWORD": SECRET, "STORE_PASSWORD": SECRET}
    settings = load(tmp_path, "\n".join(examples), environ, types={"pii": Pii})
    assert settings.upstream_timeout == 120
    assert settings.floor.output["toxicity"] == Rule(Action.FLAG, True, OnError.FLAG)
    assert settings.keys[0].policy.input["pii"] == Rule(Action.BLOCK)
    assert settings.limits.per_key == "10/second; 1000/day"


def test_without_anything_the_defaults_hold() -> None:
    loaded = load_with_origins(None, {"PATH": "/bin"}, {}, {})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text("port = 1\nworkers = 2\nscan_workers = 3\n")
    environ = {"GUARDPROXY_PORT": "4", "GUARDPROXY_WORKERS": "5"}
    loaded = load_with_origins(file, environ, {"port": "6", "drain": None}, {})
    found = loaded.settings
    assert (found.port, found.workers, found.scan_workers, found.drain) == (6, 5, 3, 30.0)
    assert {name: loaded.origins[name] for name in ("port", "workers", "scan_workers", "drain")} == {
        "port": "flag",
        "workers": "environment",
        "scan_workers": "file",
        "drain": "default",
    }


@given(st.sets(st.sampled_from(["flag", "environment"])), st.sampled_from(NUMBERS))
def test_the_strongest_origin_that_is_given_wins(given_in: set[str], setting: Setting) -> None:
    values = {"flag": "11", "environment": "12"}
    environ = {setting.environment: values["environment"]} if "environment" in given_in else {}
    flags = {setting.name: values["flag"]} if "flag" in given_in else {}
    loaded = load_with_origins(None, environ, flags, {})
    strongest = "flag" if "flag" in given_in else "environment" if "environment" in given_in else "default"
    assert loaded.origins[setting.name] == strongest
    expected = setting.default if strongest == "default" else setting.kind(values[strongest])
    assert getattr(loaded.settings, setting.name) == expected


def test_a_bad_value_that_does_not_win_is_still_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GUARDPROXY_PORT must be an integer from 0 to 65535"):
        load(tmp_path, environ={"GUARDPROXY_PORT": "x"}, port="1")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("port = 65536", "port must be an integer from 0 to 65535"),
        ("port = -1", "port must be an integer from 0 to 65535"),
        ("port = true", "port must be an integer from 0 to 65535"),
        ('port = "80"', "port must be an integer from 0 to 65535"),
        ("port = 80.0", "port must be an integer from 0 to 65535"),
        ("workers = 0", "workers must be an integer from 1"),
        ("max_body = 0", "max_body must be an integer greater than 0"),
        ("cache_size = -1", "cache_size must be an integer from 0"),
        ("guard_timeout = 0", "guard_timeout must be a number greater than 0"),
        ("upstream_timeout = inf", "upstream_timeout must be a number greater than 0"),
        ("queue_timeout = nan", "queue_timeout must be a number greater than 0"),
        ("drain = -0.1", "drain must be a number from 0"),
        ("host = 3", "host must be a host name or address"),
        ('host = ""', "host must be a host name or address"),
        ('host = "http://x"', "host must be a host name or address"),
        ('log_level = "loud"', "log_level must be one of debug, info, warning, error"),
        ('log_format = "xml"', "log_format must be one of auto, json, console"),
        ('auth = "maybe"', "auth must be one of required, none"),
        ('placeholder = ""', "placeholder must be 1 to 100 printable characters"),
        ('placeholder = "{name}"', "placeholder must be 1 to 100 printable characters"),
        ('placeholder = "{category"', "placeholder must be 1 to 100 printable characters"),
        ('upstream_ca_file = "does/not/exist.pem"', "upstream_ca_file must be a file that exists"),
        ('upstream_api_key = ""', "upstream_api_key must be printable ASCII without spaces, and not empty"),
        ("prot = 1\nhots = 2", r"'prot' is not known\. Did you mean 'port'\? 'hots' is not known\. Did you"),
        ("log_level = 'loud'", r"error, not \"loud\"\.$"),
        ("log_level = '${env:WORD}'", r"debug, info, warning, error\.$"),
        ("upstream_api_key = '$OPENAI_API_KEY'", r"upstream_api_key: a reference is spelled \$\{env:NAME\}"),
        ("upstream_api_key = '$env:A'", r"a reference is spelled \$\{env:NAME\}"),
        ("port = x1", r"is not TOML \(at line 1, column 8\): Invalid value\.$"),
        ("host", r"is not TOML \(at end of document\): Expected '=' after a key in a key/value pair\.$"),
        ('a = "\x01"', r"is not TOML \(at line 1, column 6\)\.$"),
        ("port =", "is not TOML"),
        ("profile = 'gate'", "profile must be one of openresponses, opper"),
        (
            f"profile = 'opper'\n{DOOR}".replace("'/a'", "'/v1/responses'"),
            r"profile \(file\) and the front door /v1/responses say two things",
        ),
        (f"upstream = 'https://x'\n{UPSTREAM}", r"\[\[upstreams\]\] and upstream \(file\) both say where"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, toml: str, message: str) -> None:
    assert re.search(message, problem(tmp_path, toml))


def test_workers_share_a_limit_or_there_is_none(tmp_path: Path) -> None:
    limit = "[limits]\nper_address = '100/minute; 1000/day'\n"
    with pytest.raises(
        ConfigError, match=r"limits\.per_address alone\. Set limits\.storage to a URL of Valkey"
    ):
        load(tmp_path, limit, workers="2")
    assert load(tmp_path, f"{limit}storage = 'valkey://x:1'", workers="2").workers == 2
    key = f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nlimits = '1/day'"
    with pytest.raises(ConfigError, match=r'limits of the 1st \[\[keys\]\] \("a"\) alone\. Set'):
        load(tmp_path, key, workers="2")
    assert load(tmp_path, limit).limits == LimitSettings(per_address="100/minute; 1000/day")
    assert load(tmp_path, workers="2").limits == LimitSettings()


def test_a_users_word_in_an_upstream_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="--upstream must be an http") as raised:
        load_settings(None, {}, {"upstream": "https://user:word@x/v1"}, {})
    assert "word" not in str(raised.value)


def test_an_upstream_loses_its_last_slash() -> None:
    assert load_settings(None, {}, {"upstream": "http://[::1]:1/v1/"}, {}).upstream == "http://[::1]:1/v1"


@pytest.mark.parametrize("name", ["GUARDPROXY_PROT", "GUARDPROXY_FLOOR"])
def test_an_unknown_variable_names_the_nearest(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"'{name}', which is no setting\. (Did you mean 'GUARDPROXY_|Known: )"
    ):
        load_settings(None, {name: SECRET}, {}, {})


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("GUARDPROXY_KEYS", "keys"),
        ("GUARDPROXY_STORE_URL", "store"),
        ("GUARDPROXY_FRONT_DOORS", "front_doors"),
        ("GUARDPROXY_POLICY_INPUT", "policy"),
    ],
)
def test_a_variable_in_the_place_of_a_table_is_told_where_tables_are(name: str, table: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_settings(None, {name: SECRET}, {}, {})
    assert str(raised.value) == (
        f"The environment has {name!r}, which is no setting. '{table}' is a table: those can be in the file "
        "alone."
    )


def test_all_unknown_variables_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'GUARDPROXY_HOTS', which .* It has 'GUARDPROXY_PROT', which"):
        load_settings(None, {"GUARDPROXY_PROT": "1", "GUARDPROXY_HOTS": "2"}, {}, {})


def test_an_unknown_key_of_the_file_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"guardproxy\.toml: 'upstream_timout' is not known\. Did you mean 'upstream_ti"
    ):
        load(tmp_path, "upstream_timout = 1")


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'prot' is no setting\. Did you mean 'port'"):
        load_settings(None, {}, {"prot": 1}, {})


def test_an_empty_variable_is_not_set_where_the_default_is_none() -> None:
    assert load_settings(None, {"GUARDPROXY_UPSTREAM_API_KEY": ""}, {}, {}).upstream_api_key is None
    with pytest.raises(ConfigError, match="GUARDPROXY_PORT"):
        load_settings(None, {"GUARDPROXY_PORT": ""}, {}, {})


def test_references_read_the_environment(tmp_path: Path) -> None:
    toml = 'upstream = "https://${env:HOST_NAME}/${env:V}"\n[plugins.acme]\napi_token = "${env:TOKEN}"'
    settings = load(tmp_path, toml, {"HOST_NAME": "x.example", "V": "v${env:V}", "TOKEN": SECRET})
    assert settings.upstream == "https://x.example/v${env:V}"  # what was read is not read again
    assert settings.plugins["acme"] == Acme(api_token=SECRET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${env:MISSING}", "upstream: the environment has no 'MISSING'"),
        ("${env:}", r"upstream: a reference is spelled \$\{env:NAME\}"),
        ("${env:A B}", "upstream: a reference is spelled"),
        ("${env:A", "upstream: a reference is spelled"),
    ],
)
def test_bad_references_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f'upstream = "{text}"', {"A": "x"})


def test_tables_become_values(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        f"""
        [policy.input]
        pii = "redact"
        secrets = {{ action = "block", on_error = "flag" }}
        [policy.output]
        toxicity = {{ action = "flag", mode = "shadow" }}
        [unscannable]
        image = "flag"
        [[keys]]
        name = "team-a"
        sha256 = "{DIGEST.upper()}"
        allowed_models = ["gpt-4.1"]
        policy.input = {{ pii = "block" }}
        limits = "10/minute"
        [guards.acme]
        preset = "strict"
        """,
    )
    assert settings.floor == Policy(
        {"pii": Rule(Action.REDACT), "secrets": Rule(Action.BLOCK, on_error=OnError.FLAG)},
        {"toxicity": Rule(Action.FLAG, shadow=True)},
    )
    assert settings.unscannable == {"image": "flag"}
    assert settings.keys == (
        ClientKey("team-a", DIGEST, Policy({"pii": Rule(Action.BLOCK)}), ("gpt-4.1",), "10/minute"),
    )
    assert settings.plugins == {"acme": Acme(preset="strict")}


@pytest.mark.parametrize(("host", "loopback"), [("127.8.9.1", True), ("0.0.0.0", False)])
def test_what_is_open_is_refused_beyond_loopback(host: str, loopback: bool) -> None:
    for flags, message in [
        ({"auth": "none"}, 'auth = "none" needs a loopback host'),
        ({"upstream_api_key": SECRET}, r"there are no \[\[keys\]\]"),
    ]:
        if loopback:
            assert load_settings(None, {}, {"host": host, **flags}, {}).host == host
        else:
            with pytest.raises(ConfigError, match=message) as raised:
                load_settings(None, {}, {"host": host, **flags}, {})
            assert SECRET not in str(raised.value)


def test_with_keys_the_upstreams_key_may_be_served_to_all(tmp_path: Path) -> None:
    toml = f'host = "0.0.0.0"\n[[keys]]\nname = "a"\nsha256 = "{DIGEST}"'
    assert load(tmp_path, toml, upstream_api_key=SECRET).upstream_api_key == SECRET


@pytest.mark.parametrize("name", [setting.name for setting in NUMBERS])
@pytest.mark.parametrize("given_in", ["flag", "environment", "file"])
def test_errors_never_show_the_value(tmp_path: Path, name: str, given_in: str) -> None:
    toml = f'{name} = "{SECRET}"' if given_in == "file" else ""
    environ = {f"GUARDPROXY_{name.upper()}": SECRET} if given_in == "environment" else {}
    flags: dict[str, Any] = {name: SECRET} if given_in == "flag" else {}
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, toml, environ, **flags)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.toml: (cannot be read: No such file|is not UTF-8)"):
        load_settings(file, {}, {}, {})


def test_a_broken_file_does_not_show_its_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not TOML \(at line 2, column") as raised:
        load(tmp_path, f'upstream_api_key = "{SECRET}"\nport = {SECRET}')
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("flag", ["upstream", "upstream_api_key"])
def test_a_flag_does_not_stand_beside_upstreams(tmp_path: Path, flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"{flag} \(flag\) both say where requests go"):
        load(tmp_path, UPSTREAM, None, None, **{flag: "https://x"})


def test_an_upstreams_key_without_client_keys_needs_a_loopback_host(tmp_path: Path) -> None:
    text = f"{UPSTREAM}api_key = 'k'"
    assert load(tmp_path, text).upstreams[0].api_key == "k"
    with pytest.raises(
        ConfigError,
        match=r'api_key of the 1st \[\[upstreams\]\] \("a"\) is set, and there are no \[\[keys\]\]',
    ):
        load(tmp_path, f"host = '0.0.0.0'\n{text}")
