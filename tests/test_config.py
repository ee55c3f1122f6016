"""Where settings come from: precedence, checks, tables, and messages without values."""

import hashlib
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.config import load_settings, load_with_origins
from guardproxy.errors import ConfigError
from guardproxy.prices import Price
from guardproxy.settings import (
    SETTINGS,
    ClientKey,
    LimitSettings,
    Setting,
    Settings,
    StoreSettings,
)
from guardproxy.types import Action, OnError, Policy, Rule

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"
SECRET = "sk-" + "canary" * 4
DIGEST = "ab" * 32
DOOR = "[[front_doors]]\npath = '/a'\nprofile = 'opper'\n"
UPSTREAM = "[[upstreams]]\nname = 'a'\nurl = 'https://a'\n"
LIMITED = f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nlimits = "
OF_NOTHING = hashlib.sha256(b"").hexdigest().upper()
NUMBERS = [setting for setting in SETTINGS if setting.kind is not str]


class Inner(msgspec.Struct):
    kind: Literal["wide", "narrow"] | None = None
    name: Annotated[str, msgspec.Meta(pattern="^[A-Z]+$", max_length=3)] = "A"
    depth: Annotated[int, msgspec.Meta(multiple_of=2)] = 2


class Acme(msgspec.Struct, frozen=True):
    preset: Literal["default", "strict"] = "default"
    api_token: str | None = None
    inner: Inner | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}


class Needy(msgspec.Struct):
    url: str


class Raising(msgspec.Struct):
    url: str = ""

    def __post_init__(self) -> None:
        if self.url:
            raise ValueError(f"cannot use {self.url}")


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
        ("policy = 1", "policy must be a table"),
        ("[policy]\ninptu = {}", r"\[policy\]: 'inptu' is not known. Did you mean 'input'"),
        ("[policy.input]\npii = 1", "policy.input.pii must be a table"),
        ('[policy.input]\npii = "deny"', 'policy.input.pii.action must be "flag", "redact" or "block"'),
        ('[policy.input]\npii = "REDACT"', 'policy.input.pii.action must be "flag", "redact" or "block"'),
        ("[policy.input.pii]\nmode = 'shadow'", "policy.input.pii lacks its action"),
        ("[policy.input.pii]\naction = 'flag'\nmode = 'off'", 'policy.input.pii.mode must be "shadow"'),
        ("[policy.input.pii]\naction = 'flag'\non_error = 'x'", 'pii.on_error must be "fail" or "flag"'),
        ("[policy.input.pii]\naction = 'flag'\nacton = 'x'", "'acton' is not known. Did you mean 'action'"),
        ("[policy.input]\n'Pi i' = 'flag'", "a guard's name has the characters"),
        ("[unscannable]\nimgae = 'flag'", "'imgae' is not known. Did you mean 'image'"),
        ("[unscannable]\nimage = 'redact'", 'unscannable.image must be "pass", "flag" or "block"'),
        ("[keys]\nname = 'a'", r"keys must be a list of tables, each headed \[\[keys\]\]"),
        ("keys = [1]", "keys.0 must be a table"),
        ("[[keys]]\nname = ''", "keys.0.name must be 1 to 64"),
        ("[[keys]]\nname = 'a'\nsha256 = 'abc'", "keys.0.sha256 must be the key's SHA-256"),
        (f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nallowed_models = 'x'", "keys.0.allowed_models must be"),
        (f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nmodels = []", "'models' is not known. Did you mean"),
        (
            f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\npolicy.input = {{ pii = 'x' }}",
            "keys.0.policy.input.pii",
        ),
        ("[guards.acme]\n[plugins.acme]", r"\[guards.acme\] and \[plugins.acme\] are the same table"),
        ("[guards.amce]", r"\[guards.amce\] may have 'allow' alone: .* Did you mean 'acme'"),
        ("[acme]\npreset = 'strict'", r"\[acme\] is not known. .* 'acme' belong in \[plugins.acme\]\.$"),
        ("[acme]\n[amce]", r"belong in \[plugins.acme\]\. 'amce' is not known\."),
        ("acme = 1", "'acme' is not known. "),
        ("[plugins.amce]", r"\[plugins\]: 'amce' is not known. Did you mean 'acme'"),
        ("[plugins.acme]\npreste = 1", "'preste' is not known. Did you mean 'preset'"),
        ("[plugins.acme]\npreset = 1", r"\[plugins.acme\]: preset must be \"default\" or \"strict\"\.$"),
        ("[guards.acme]\npreset = 'all'", r'preset must be "default" or "strict", not "all"\.$'),
        ("[guards.acme]\nshare = 2", r"\[guards.acme\]: share must be a number of at most 1.0\.$"),
        ("[guards.acme]\nshare = -0.5", r"share must be a number of at least 0.0\.$"),
        ("[guards.acme]\nshare = 'x'", r"share must be a number, not a string\.$"),
        ("[guards.acme]\nmany = 'x'", r"many must be a list, not a string\.$"),
        ("[guards.acme]\ninner = { depth = true }", r"inner.depth must be an integer, not true or false\.$"),
        ("[guards.acme]\ninner.depth = 5", r"inner.depth: Expected `int` that's a multiple of 2\.$"),
        ("prot = 1\nhots = 2", r"'prot' is not known\. Did you mean 'port'\? 'hots' is not known\. Did you"),
        ("[policy.input]\npii = 'redcat'", r'"block", not "redcat"\.$'),
        (f"[policy.input]\npii = '{SECRET}'", r'"redact" or "block"\.$'),
        ("[policy.input]\npii = '${env:WORD}'", r'"redact" or "block"\.$'),
        ("log_level = 'loud'", r"error, not \"loud\"\.$"),
        ("log_level = '${env:WORD}'", r"debug, info, warning, error\.$"),
        ("[guards.acme]\nupstream = 'https://a'", r"'upstream' is not known. It is a top-level key: those"),
        ("[unscannable]\nport = 80", r"before the first \[table\]"),
        (
            "[policy.input]\nupstream = 'https://a'",
            r"policy.input.upstream is no rule of a guard. It is a top",
        ),
        ("[policy.input]\npii = 'flag'\ndrain = 5", r"before the first \[table\]"),
        ("upstream_api_key = '$OPENAI_API_KEY'", r"upstream_api_key: a reference is spelled \$\{env:NAME\}"),
        ("upstream_api_key = '$env:A'", r"a reference is spelled \$\{env:NAME\}"),
        (
            "[plugins.acme.inner]\ndepht = 1",
            r"\[plugins.acme.inner\]: 'depht' is not known. Did you mean 'depth'",
        ),
        ("[[plugins.acme.many]]\ndepht = 1", "'depht' is not known. Did you mean 'depth'"),
        ("[plugins.acme.named.x]\ndepht = 1", "'depht' is not known. Did you mean 'depth'"),
        ("[guards.acme]\nallow = 'x'", "guards.acme.allow must be a list of strings"),
        ("[guards.acme]\nallow = ['x', 're:(']", "guards.acme.allow.1 is no pattern of google-re2"),
        ("[guards.acme]\nallow = ['x', '']", "guards.acme.allow.1 is empty"),
        ("[guards.other]\nallow = ['x']\nlevel = 1", r"\[guards.other\] may have 'allow' alone"),
        ("[plugins.acme]\nallow = ['x']", "'allow' is not known"),
        ("[[guards.acme.many]]\nkind = 'flat'", r'many\[0\].kind must be "wide" or "narrow", not "flat"\.$'),
        ("[guards.acme]\ninner.kind = 'x 1'", r'inner.kind must be "wide" or "narrow"\.$'),
        ("[guards.acme]\ninner.name = 'a'", r"inner.name must match \^\[A-Z\]\+\$\.$"),
        ("[guards.acme]\ninner.name = 'AAAA'", r"inner.name must have at most 3 characters\.$"),
        ("port = x1", r"is not TOML \(at line 1, column 8\): Invalid value\.$"),
        ("host", r"is not TOML \(at end of document\): Expected '=' after a key in a key/value pair\.$"),
        ('a = "\x01"', r"is not TOML \(at line 1, column 6\)\.$"),
        ("port =", "is not TOML"),
        ("keys = []", "keys is empty, and would let clients in"),
        (f"[[keys]]\nname = 'a'\nsha256 = '{OF_NOTHING}'", r"keys.0.sha256 is that of no text at all"),
        (
            f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nallowed_models = []",
            "models must be a list of one or",
        ),
        (
            f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nallowed_models = ['']",
            "models must be a list of one or",
        ),
        (
            f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nallowed_models = ['m', 'gpt-*']",
            "models must be whole names of models",
        ),
        ("upstreams = []", r"upstreams must be tables, each headed \[\[upstreams\]\]"),
        ("[upstreams]\nname = 'a'", r"upstreams must be tables, each headed \[\[upstreams\]\]"),
        ("[[upstreams]]\nname = 'a@b'", "upstreams.0.name must be 1 to 64"),
        ("[[upstreams]]\nname = 'a'\nurl = 'https://u:p@x'", "upstreams.0.url must be an http"),
        (f"{UPSTREAM}uri = 1", "upstreams.0: 'uri' is not known. Did you mean 'url'"),
        (f"{UPSTREAM}api_key = 'a b'", "upstreams.0.api_key must be printable ASCII"),
        (f"{UPSTREAM}api_key = '$KEY'", r"api_key: a reference is spelled \$\{env:NAME\}"),
        (f"{UPSTREAM}models = 'gpt-*'", "upstreams.0.models must be a list of patterns"),
        (f"{UPSTREAM}models = []", "upstreams.0.models must be a list of patterns"),
        (f"{UPSTREAM}default = 1", "upstreams.0.default must be true or false"),
        (f"{UPSTREAM}connect_timeout = 0", "upstreams.0.connect_timeout must be a number greater than 0"),
        (f"{UPSTREAM}upstream_timeout = inf", "upstreams.0.upstream_timeout must be a number greater"),
        (f"{UPSTREAM}stream_idle_timeout = true", "upstreams.0.stream_idle_timeout must be a number"),
        (f"{UPSTREAM}headers.host = 'b'", "upstreams.0.headers: 'host' cannot be set: it is"),
        (f"{UPSTREAM}headers.Authorization = 'b'", "'Authorization' cannot be set: .* 'api_key' becomes"),
        (f"{UPSTREAM}headers.'a b' = 'b'", "'a b' cannot be set"),
        (f"{UPSTREAM}headers.X-Opper-Name = 'b'", "'X-Opper-Name' cannot be set"),
        (f"{UPSTREAM}headers.te = 'b'", "'te' cannot be set"),
        (f'{UPSTREAM}headers.x-a = "b\\n"', "upstreams.0.headers.x-a must be printable ASCII"),
        (f"{UPSTREAM}{UPSTREAM}", "upstreams.1: another upstream has the same name"),
        (
            f"{UPSTREAM}default = true\n[[upstreams]]\nname = 'b'\nurl = 'https://b'\ndefault = true",
            "upstreams: a, b are default. Keep one",
        ),
        ("limits = 1", "limits must be a table"),
        ("[limits]\nper_adress = '1/day'", "'per_adress' is not known. Did you mean 'per_address'"),
        ("[limits]\nper_address = 100", "limits.per_address must be one or more rates such as '100/minute'"),
        ("[limits]\nper_key = '100/fortnight'", "limits.per_key must be one or more rates such as"),
        ("[limits]\nper_key = ''", "limits.per_key must be one or more rates such as"),
        ("[limits]\nstorage = 1", "limits.storage must be memory://, or a URL with host and port such as"),
        (f"{LIMITED}'1 a day'", "keys.0.limits must be one or more rates such as"),
        (
            f"workers = 2\n{LIMITED}'1/day'",
            r"workers = 2: each of them would count .* of keys.0.limits alone",
        ),
        ("prices = 1", "prices must be a table"),
        ("[prices]\n'gpt-4.1' = 2", "prices.'gpt-4.1' must be a table"),
        (
            "[prices.gpt-4.1]\ninput = 2",
            r"prices.'gpt-4' has tables in it. Quote a name .*\[prices.\"gpt-4.1\"\]",
        ),
        ("[prices.m]\ninput = 2", "prices.'m' lacks 'output', US dollars for a million tokens"),
        ("[prices.m]\ninput = 2\noutput = -1", "prices.'m'.output must be a number from 0"),
        ("[prices.m]\ninput = true\noutput = 1", "prices.'m'.input must be a number from 0"),
        ("[prices.m]\ninput = nan\noutput = 1", "prices.'m'.input must be a number from 0"),
        ("[prices.m]\ninput = inf\noutput = 1", "prices.'m'.input must be a number from 0"),
        ("[prices.m]\ninput = '2'\noutput = 1", "prices.'m'.input must be a number from 0"),
        (
            "[prices.m]\ninput = 2\noutput = 1\ncached = 1",
            "'cached' is not known. Did you mean 'cached_input'",
        ),
        ("front_doors = []", r"front_doors must be tables, each headed \[\[front_doors\]\]"),
        ("[[front_doors]]\npath = '/v1/'", "front_doors.0.path must be a path such as /v1/responses"),
        ("[[front_doors]]\npath = '/a/../b'", "front_doors.0.path must be a path such as /v1/responses"),
        ("[[front_doors]]\npath = '/{id}'", "front_doors.0.path must be a path such as /v1/responses"),
        (
            "[[front_doors]]\npath = '/a'",
            'front_doors.0.profile must be "openresponses", "opper", "openrouter", "gateway" or "julep"',
        ),
        ("[[front_doors]]\npath = '/a'\nform = 1", "front_doors.0: 'form' is not known"),
        (f"{DOOR}{DOOR}", "front_doors.1: another front door has the same path"),
        (
            f"profile = 'opper'\n{DOOR}".replace("'/a'", "'/v1/responses'"),
            r"profile \(file\) and the front door /v1/responses say two things",
        ),
        ("profile = 'gate'", "profile must be one of openresponses, opper"),
        (f"upstream = 'https://x'\n{UPSTREAM}", r"\[\[upstreams\]\] and upstream \(file\) both say where"),
        ("store = 1", "store must be a table"),
        ("[store]\nuri = 'x'", r"\[store\]: 'uri' is not known. Did you mean 'url'"),
        (
            "[store]\nurl = '${env:WORD}'",
            r"store.url must be sqlite\+aiosqlite:///FILE, or postgresql\+asyncpg://",
        ),
        ("[store]\nretention = 0", "store.retention must be a number greater than 0"),
        ("[store]\nretention = true", "store.retention must be a number greater than 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load(tmp_path, toml, {"WORD": "canary"})
    assert "guardproxy.toml: " in str(raised.value) or "workers = " in str(raised.value)


@pytest.mark.parametrize(
    ("storage", "right"),
    [
        *((f"{scheme}://:{SECRET}@x:1", False) for scheme in ("VALKEY", "Valkeys", " valkey", "unix")),
        *((f"{scheme}://user:{SECRET}@x:6379", True) for scheme in ("valkey", "valkeys", "redis", "rediss")),
        *((url, True) for url in ("memory://", "valkey://x:1/0", "valkey://x:1/", "valkey://[::1]:1/15")),
        *((f"valkey://:{SECRET}@{rest}", False) for rest in ("x", "x:0", "x:1/a", "x:1?db=1", "x:1#f", ":1")),
        *(
            (url, False)
            for url in (f"http://{SECRET}@x:1", "memory", "memory://x", "memcached://x:1", SECRET)
        ),
    ],
)
def test_where_requests_are_counted(tmp_path: Path, storage: str, right: bool) -> None:
    toml = f"workers = 2\n[limits]\nstorage = '{storage}'"
    if right:
        settings = load(tmp_path, toml)
        assert settings.limits.storage == storage
        assert SECRET not in repr(settings)
        return
    with pytest.raises(ConfigError, match=r"limits\.storage must be memory://, or a URL") as raised:
        load(tmp_path, toml)
    assert SECRET not in str(raised.value)


def test_workers_share_a_limit_or_there_is_none(tmp_path: Path) -> None:
    limit = "[limits]\nper_address = '100/minute; 1000/day'\n"
    with pytest.raises(
        ConfigError, match=r"limits\.per_address alone\. Set limits\.storage to a URL of Valkey"
    ):
        load(tmp_path, limit, workers="2")
    assert load(tmp_path, f"{limit}storage = 'valkey://x:1'", workers="2").workers == 2
    assert load(tmp_path, limit).limits == LimitSettings(per_address="100/minute; 1000/day")
    assert load(tmp_path, workers="2").limits == LimitSettings()


def test_prices_are_exact_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    first = "[prices.'gpt-4.1']\ninput = 2.0\noutput = 8\ncached_input = 0.1\n"
    prices = load(tmp_path, f"{first}[prices.'gpt-*']\ninput = 0\noutput = 1e-3").prices
    assert list(prices.items()) == [
        ("gpt-4.1", Price(Decimal("2.0"), Decimal(8), Decimal("0.1"))),
        ("gpt-*", Price(Decimal(0), Decimal("0.001"))),
    ]


def test_a_store_has_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "").store is None
    assert load(tmp_path, "[store]").store == StoreSettings(
        url="sqlite+aiosqlite:///guardproxy.db", retention=2_592_000.0
    )
    toml = "[store]\nurl = 'postgresql://me:${env:WORD}@db/x'\nretention = 60"
    assert load(tmp_path, toml, {"WORD": "secret"}).store == StoreSettings(
        url="postgresql://me:secret@db/x", retention=60.0
    )


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


@pytest.mark.parametrize(("one", "other", "what"), [("a", "a", "name"), ("a", "b", "sha256")])
def test_keys_are_unique(tmp_path: Path, one: str, other: str, what: str) -> None:
    digests = [DIGEST, "cd" * 32 if what == "name" else DIGEST.upper()]
    toml = "".join(
        f"[[keys]]\nname = '{n}'\nsha256 = '{d}'\n" for n, d in zip((one, other), digests, strict=True)
    )
    with pytest.raises(ConfigError, match=f"keys.1: another key has the same {what}"):
        load(tmp_path, toml)


def test_a_plugin_without_a_table_has_its_defaults_or_is_an_error(tmp_path: Path) -> None:
    assert load(tmp_path).plugins == {"acme": Acme()}
    with pytest.raises(ConfigError, match=r"\[plugins.needy\]: lacks 'url'\."):
        load(tmp_path, types={"needy": Needy})


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


@pytest.mark.parametrize(
    ("toml", "types"),
    [
        ('[plugins.acme]\npreset = "${env:S}"', {"acme": Acme}),
        ('[plugins.raising]\nurl = "http://x/${env:S}"', {"raising": Raising}),
    ],
)
def test_a_plugins_message_hides_what_came_from_the_environment(
    tmp_path: Path, toml: str, types: dict[str, type[msgspec.Struct]]
) -> None:
    with pytest.raises(ConfigError, match=r"\*\*\*\*") as raised:
        load(tmp_path, toml, {"S": SECRET}, types)
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


def test_upstreams_become_values(tmp_path: Path) -> None:
    text = """
    connect_timeout = 1
    [[upstreams]]
    name = "openai"
    url = "https://api.openai.com/v1/"
    api_key = "${env:KEY}"
    models = ["gpt-*"]
    default = true
    [[upstreams]]
    name = "other"
    url = "http://127.0.0.1:1/v1"
    headers.X-Org = "ours"
    upstream_timeout = 5
    """
    first, second = load(tmp_path, text, {"KEY": SECRET}).upstreams
    assert (first.name, first.url, first.api_key) == ("openai", "https://api.openai.com/v1", SECRET)
    assert (first.models, first.default, first.connect_timeout) == (("gpt-*",), True, 1.0)
    assert (second.headers, second.api_key, second.default) == ({"x-org": "ours"}, None, False)
    assert (second.connect_timeout, second.upstream_timeout, second.stream_idle_timeout) == (1.0, 5.0, 60.0)
    assert SECRET not in repr((first, second))
    assert "ours" not in repr(second)


@pytest.mark.parametrize("flag", ["upstream", "upstream_api_key"])
def test_a_flag_does_not_stand_beside_upstreams(tmp_path: Path, flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"{flag} \(flag\) both say where requests go"):
        load(tmp_path, UPSTREAM, None, None, **{flag: "https://x"})


def test_an_upstreams_key_without_client_keys_needs_a_loopback_host(tmp_path: Path) -> None:
    text = f"{UPSTREAM}api_key = 'k'"
    assert load(tmp_path, text).upstreams[0].api_key == "k"
    with pytest.raises(ConfigError, match=r"upstreams.0.api_key is set, and there are no \[\[keys\]\]"):
        load(tmp_path, f"host = '0.0.0.0'\n{text}")
