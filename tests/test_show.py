"""What `config show` prints: values with their origins, and no secret."""

import tomllib
from pathlib import Path

from guardproxy.config import load_with_origins
from guardproxy.show import shown
from tests.samples import Acme

SECRET = "sk-" + "canary" * 4
DIGEST = "ab" * 32


def show(tmp_path: Path, toml: str, environ: dict[str, str] | None = None, **flags: str) -> str:
    file = tmp_path / "guardproxy.toml"
    file.write_text(toml)
    lines = shown(load_with_origins(file, environ or {}, flags, {"acme": Acme}))
    return "".join(f"{line}\n" for line in lines)


FULL = f"""
upstream_timeout = 5
upstream = "${{env:UPSTREAM}}"
[policy.input]
pii = {{ action = "block", on_error = "flag" }}
[policy.output]
late = {{ action = "flag", mode = "shadow" }}
[unscannable]
image = "flag"
[guards.acme]
preset = "a \\"b\\""
api_token = "{SECRET}"
address = "${{env:ADDRESS}}"
limits = {{ "a b" = 1 }}
[limits]
per_key = "1000/day"
storage = "valkey://me:{SECRET}@x:6379/1"
[[keys]]
name = "team"
sha256 = "{DIGEST}"
allowed_models = ["m"]
policy.input = {{ pii = "redact" }}
limits = "10/minute"
"""


def test_show_prints_values_with_origins_as_toml(tmp_path: Path) -> None:
    environ = {
        "GUARDPROXY_UPSTREAM_API_KEY": SECRET,
        "UPSTREAM": "http://x.example/v1",
        "ADDRESS": f"there-{SECRET}",
    }
    found = show(tmp_path, FULL, environ, port="9", upstream_proxy=f"http://me:{SECRET}@proxy:1")
    lines = found.splitlines()
    assert "port = 9  # flag" in lines
    assert 'upstream_api_key = "********"  # environment' in lines
    assert "upstream_timeout = 5.0  # file" in lines
    assert 'host = "127.0.0.1"  # default' in lines
    assert "# upstream_ca_file is not set" in lines
    assert SECRET not in found
    assert DIGEST not in found
    table = tomllib.loads(found)
    assert table["upstream"] == "${env:UPSTREAM}"
    assert table["upstream_proxy"] == "http://********@proxy:1"
    assert table["policy"] == {
        "input": {"pii": {"action": "block", "on_error": "flag"}},
        "output": {"late": {"action": "flag", "mode": "shadow"}},
    }
    assert table["unscannable"] == {"image": "flag"}
    assert table["guards"]["acme"] == {
        "preset": 'a "b"',
        "api_token": "********",
        "address": "${env:ADDRESS}",
        "limits": {"a b": 1},
        "shares": {"a": 0.5},
    }
    assert table["keys"] == [
        {
            "name": "team",
            "sha256": "********",
            "allowed_models": ["m"],
            "policy": {"input": {"pii": {"action": "redact"}}, "output": {}},
            "limits": "10/minute",
        }
    ]
    assert table["limits"] == {"per_key": "1000/day", "storage": "valkey://********@x:6379/1"}
    assert "# per_address is not set" in lines


def test_show_prints_the_store_without_its_password(tmp_path: Path) -> None:
    found = show(tmp_path, f"[store]\nurl = 'postgresql://me:{SECRET}@db/x'\nretention = 60\n")
    assert SECRET not in found
    assert tomllib.loads(found)["store"] == {"url": "postgresql://********@db/x", "retention": 60.0}
    found = show(tmp_path, "[store]\nurl = '${env:STORE}'\n", {"STORE": f"postgresql://me:{SECRET}@db/x"})
    assert tomllib.loads(found)["store"]["url"] == "${env:STORE}"
    found = show(tmp_path, "[store]\nurl = 'postgresql://me:${env:PW}@db/x'\n", {"PW": SECRET})
    assert tomllib.loads(found)["store"]["url"] == "********"
    assert "store" not in tomllib.loads(show(tmp_path, ""))


def test_show_tells_how_many_an_allow_list_has_and_not_which(tmp_path: Path) -> None:
    found = show(tmp_path, f'[guards.pii]\nallow = ["{SECRET}", "x"]')
    assert "[guards.pii]  # file\n# allow has 2 entries\n" in found
    assert SECRET not in found


def test_show_prints_the_references_of_keys(tmp_path: Path) -> None:
    toml = """
        upstream_api_key = "${env:PROVIDER}"
        [[keys]]
        name = "team"
        sha256 = "${env:DIGEST}"
        allowed_models = ["m", "${env:MODEL}", "x-${env:MODEL}"]
        limits = "${env:RATES}"
        [limits]
        storage = "${env:STORAGE}"
    """
    environ = {"PROVIDER": SECRET, "DIGEST": DIGEST, "MODEL": "canary-model", "RATES": "1/day"}
    found = show(tmp_path, toml, {**environ, "STORAGE": "valkey://:canary@x:1"})
    assert "canary" not in found
    table = tomllib.loads(found)
    assert table["upstream_api_key"] == "${env:PROVIDER}"
    assert table["keys"][0]["sha256"] == "${env:DIGEST}"
    assert table["keys"][0]["allowed_models"] == ["m", "${env:MODEL}", "********"]
    assert table["keys"][0]["limits"] == "${env:RATES}"
    assert table["limits"]["storage"] == "${env:STORAGE}"


def test_show_prints_prices_in_digits(tmp_path: Path) -> None:
    first, second = "input = 2.0\noutput = 1e-7", "input = 0\noutput = 0\ncached_input = 0.5"
    found = show(tmp_path, f"[prices.'gpt-4.1']\n{first}\n[prices.m]\n{second}")
    assert '[prices."gpt-4.1"]  # file\ninput = 2\noutput = 0.0000001\n# cached_input is not set\n' in found
    assert tomllib.loads(found)["prices"]["m"] == {"input": 0, "output": 0, "cached_input": 0.5}


def test_show_says_that_a_key_without_a_list_may_use_all_models(tmp_path: Path) -> None:
    found = show(tmp_path, f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\n")
    assert "# allowed_models is not set: all" in found.splitlines()
    assert "allowed_models" not in tomllib.loads(found)["keys"][0]


def test_show_prints_what_a_front_door_brings_along(tmp_path: Path) -> None:
    found = show(tmp_path, "", profile="julep")
    assert "# per_address is not set: 100/minute at /v1/responses\n" in found
    assert '[store]  # default\nurl = "sqlite+aiosqlite:///guardproxy.db"' in found


def test_show_prints_no_upstream_beside_several(tmp_path: Path) -> None:
    found = show(tmp_path, "[[upstreams]]\nname = 'a'\nurl = 'http://127.0.0.1:1/v1'\n")
    assert "# upstream is not set: [[upstreams]] stand in for it\n" in found
    assert "# models is not set\n" in found
    assert {"upstream", "upstream_api_key"}.isdisjoint(tomllib.loads(found))


def test_show_prints_the_headers_and_keys_of_upstreams_without_their_values(tmp_path: Path) -> None:
    entry = "[[upstreams]]\nname = '{}'\nurl = 'http://127.0.0.1:1/v1'\nmodels = ['m-*']\n"
    first = f"{entry.format('a')}api_key = '{SECRET}'\nheaders.X-Org = '{SECRET}'\n"
    second = f"{entry.format('b')}api_key = '${{env:KEY}}'\n"
    found = show(tmp_path, first + second, {"KEY": SECRET})
    assert SECRET not in found
    one, two = tomllib.loads(found)["upstreams"]
    assert (one["api_key"], one["headers"], one["models"]) == ("********", {"x-org": "********"}, ["m-*"])
    assert (two["api_key"], two["headers"]) == ("${env:KEY}", {})
