"""Lists of tables: what they become, and which of their entries is said to be wrong."""

import hashlib
from pathlib import Path

import pytest

from tests.test_config import DIGEST, DOOR, SECRET, UPSTREAM, load, problem

KEY = f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\n"
OTHER_KEY = f"[[keys]]\nname = 'b'\nsha256 = '{DIGEST.upper()}'\n"
OF_NOTHING = hashlib.sha256(b"").hexdigest().upper()


@pytest.mark.parametrize("heading", ["keys", "upstreams", "front_doors"])
def test_a_list_has_tables(tmp_path: Path, heading: str) -> None:
    for toml in (f"[{heading}]\nname = 'a'", f"{heading} = [1]", f"{heading} = 'x'"):
        said = f"{heading} must be tables, each headed [[{heading}]]."
        assert problem(tmp_path, toml) == said


def test_a_list_is_not_empty(tmp_path: Path) -> None:
    assert problem(tmp_path, "keys = []").startswith("keys is empty, and would let clients in")
    assert problem(tmp_path, "upstreams = []") == "upstreams must be tables, each headed [[upstreams]]."
    assert problem(tmp_path, "front_doors = []") == "front_doors must be tables, each headed [[front_doors]]."


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[[keys]]\nname = 'a'\nsha256 = 'abc'", "sha256 must be the key's SHA-256"),
        (f"[[keys]]\nname = 'a'\nsha256 = '{OF_NOTHING}'", "sha256 is that of no text at all"),
        (f"{KEY}models = []", "'models' is not known. Did you mean"),
        (f"{KEY}allowed_models = 'x'", "allowed_models must be a list of one or"),
        (f"{KEY}allowed_models = []", "allowed_models must be a list of one or"),
        (f"{KEY}allowed_models = ['']", "allowed_models must be a list of one or"),
        (f"{KEY}allowed_models = ['m', 'gpt-*']", "allowed_models must be whole names of models"),
        (
            f"{KEY}allowed_models = ['m', '${{env:NONE}}']",
            "the 2nd of allowed_models: the environment has no",
        ),
        (f"{KEY}policy.input = {{ pii = 'x' }}", "policy.input.pii.action must be"),
        (f"{KEY}policy.inptu = {{ pii = 'x' }}", "[policy]: 'inptu' is not known. Did you mean 'input'"),
        (f"{KEY}limits = '1 a day'", "limits must be one or more rates such as"),
        (f"{KEY}limits = '${{env:NONE}}'", "limits: the environment has no 'NONE'"),
    ],
)
def test_what_is_wrong_in_a_key_is_named(tmp_path: Path, toml: str, message: str) -> None:
    assert problem(tmp_path, toml).startswith(f'the 1st [[keys]] ("a"): {message}')


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("url = 'https://u:p@x'", "url must be an http"),
        ("uri = 1", "'uri' is not known. Did you mean 'url'"),
        ("api_key = 'a b'", "api_key must be printable ASCII"),
        ("api_key = 0", "api_key must be printable ASCII"),
        ("api_key = '$KEY'", "api_key: a reference is spelled ${env:NAME}."),
        ("models = 'gpt-*'", "models must be a list of patterns"),
        ("models = []", "models must be a list of patterns"),
        ("default = 1", "default must be true or false"),
        ("connect_timeout = 0", "connect_timeout must be a number greater than 0"),
        ("upstream_timeout = inf", "upstream_timeout must be a number greater than 0"),
        ("stream_idle_timeout = true", "stream_idle_timeout must be a number greater than 0"),
        ("headers = 1", "headers must be a table"),
        ("headers.host = 'b'", "headers: 'host' cannot be set: it is no header's name, or one that"),
        ("headers.Authorization = 'b'", "headers: 'Authorization' cannot be set"),
        ("headers.'a b' = 'b'", "headers: 'a b' cannot be set"),
        ("headers.X-Opper-Name = 'b'", "headers: 'X-Opper-Name' cannot be set"),
        ("headers.te = 'b'", "headers: 'te' cannot be set"),
        ('headers.x-a = "b\\n"', "headers.x-a must be printable ASCII"),
        ("headers.x-a = 'b'\nheaders.X-A = 'c'", "headers: two are the same but for their capitals"),
    ],
)
def test_what_is_wrong_in_an_upstream_is_named(tmp_path: Path, toml: str, message: str) -> None:
    entry = f"{UPSTREAM}{toml}" if "url" not in toml else f"[[upstreams]]\nname = 'a'\n{toml}"
    other = UPSTREAM.replace("'a'", "'other'")
    assert problem(tmp_path, f"{other}{entry}").startswith(f'the 2nd [[upstreams]] ("a"): {message}')


def test_one_upstream_alone_is_the_default(tmp_path: Path) -> None:
    other = UPSTREAM.replace("'a'", "'b'")
    said = problem(tmp_path, f"{UPSTREAM}default = true\n{other}default = true")
    assert said == 'the 2nd [[upstreams]] ("b"): one before it is the default, too. Keep one.'


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("path = '/v1/'", ' ("/v1/"): path must be a path such as /v1/responses'),
        ("path = '/a/../b'", ' ("/a/../b"): path must be a path such as /v1/responses'),
        ("path = '/{id}'", ": path must be a path such as /v1/responses"),
        ("path = '/a'", ' ("/a"): profile must be "openresponses", "opper", "openrouter", "gateway" or "jul'),
        ("path = '/a'\nform = 1", " (\"/a\"): 'form' is not known"),
    ],
)
def test_what_is_wrong_in_a_front_door_is_named(tmp_path: Path, toml: str, message: str) -> None:
    said = problem(tmp_path, f"[[front_doors]]\n{toml}")
    assert said.startswith(f"the 1st [[front_doors]]{message}")


@pytest.mark.parametrize(
    "name", ["", "a@b", SECRET + "/+=", "${env:WORD}", "two words"], ids=["none", "@", "key", "env", "words"]
)
def test_an_entry_whose_name_cannot_be_shown_is_told_by_its_number(tmp_path: Path, name: str) -> None:
    said = problem(tmp_path, f"{KEY}[[keys]]\nname = '{name}'\nsha256 = 'abc'")
    assert said.startswith("the 2nd [[keys]]: ")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (f"{KEY}{KEY}", 'the 2nd [[keys]] ("a"): one before it has the same name.'),
        (f"{KEY}{KEY.replace('ab', 'cd')}", 'the 2nd [[keys]] ("a"): one before it has the same name.'),
        (
            f"{KEY}{OTHER_KEY}",
            'the 2nd [[keys]] ("b"): one before it has the same sha256.',
        ),
        (f"{UPSTREAM}{UPSTREAM}", 'the 2nd [[upstreams]] ("a"): one before it has the same name.'),
        (f"{DOOR}{DOOR}", 'the 2nd [[front_doors]] ("/a"): one before it has the same path.'),
    ],
)
def test_two_entries_are_not_the_same(tmp_path: Path, toml: str, said: str) -> None:
    assert problem(tmp_path, toml) == said


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
