"""Whatever a client sends gets an answer or a 4xx: never a 5xx, never a hang, whichever guard is on."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy import Guard
from guardproxy.plugins import collect_guards, load_plugins
from guardproxy.settings import Settings
from guardproxy_pii.config import PiiSettings
from tests.harness import Answered, Client, in_one_task, message, proxy, whole
from tests.samples import Mood

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACTIONS = ("flag", "redact", "block")
LONG = 100  # seconds; nothing here takes a tenth of it unless its work grows faster than its size
CALL = {"type": "function_call", "call_id": "call_1", "name": "f"}
MAIL = "ada" + "@" + "example.org"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    # Models are left out: their time is that of the machine, and here the paths count.
    own = Settings(plugins={"pii": PiiSettings(preset="structured")})
    guards = {**collect_guards(load_plugins(), own), "toxicity": Guard("toxicity", (Mood(),))}
    # A busy machine must not look like a guard that hangs.
    patient = proxy(whole(message("ok")), made=guards, guard_timeout=60.0, queue_timeout=60.0)
    async with in_one_task(patient) as client:
        yield client


async def sent(client: Client, body: bytes, action: str, more: Mapping[str, str] | None = None) -> Answered:
    """The answer, which must come in time and be none of a failure."""
    headers = {
        "x-opper-guard-input": "pii,secrets,toxicity",
        "x-opper-guard-output": "secrets",
        "x-opper-guard-action": action,
        **(more or {}),
    }
    client.requests.clear()
    async with asyncio.timeout(LONG):
        got = await client.post(body, headers)
    assert got.status < 500, (got.status, got.body[:300])
    assert got.ended
    if got.status >= 400:
        assert got.json["error"]["code"] != "internal_error"
        assert client.requests == []
    return got


def asking(text: Any) -> bytes:
    return json.dumps({"model": "m", "input": text}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def nested(arguments: str, depth: int) -> str:
    """Arguments in arguments in arguments."""
    for _ in range(depth):
        arguments = json.dumps({"a": arguments})
    return arguments


def calls(arguments: Callable[[int], str], count: int) -> bytes:
    return asking([{**CALL, "arguments": arguments(number)} for number in range(count)])


# Bodies that are refused, and with which code.
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "invalid_request"),
    **{
        name: (body, "uninspectable")
        for name, body in {
            "null": b"null",
            "a list": b"[]",
            "a string": b'"x"',
            "a number": b"1",
            "blanks": b" \n\t ",
            "a byte order mark": b'\xef\xbb\xbf{"input":"x"}',
            "UTF-16": '{"input":"x"}'.encode("utf-16"),
            "UTF-32": '{"input":"x"}'.encode("utf-32-le"),
            "Latin-1": '{"input":"é"}'.encode("latin-1"),
            "an encoded surrogate": b'{"input":"\xed\xa0\x80"}',
            "an overlong slash": b'{"input":"\xc0\xaf"}',
            "NaN": b'{"input":NaN}',
            "Infinity": b'{"input":[-Infinity]}',
            "a key twice": b'{"input":"a","input":"b"}',
            "a key twice, escaped": b'{"input":"a","\\u0069nput":"b"}',
            "600 lists": b'{"input":' + b"[" * 600 + b"]" * 600 + b"}",
            "600 objects": b'{"input":' + b'{"a":' * 600 + b"1" + b"}" * 600 + b"}",
            "100,000 lists": b'{"input":' + b"[" * 100_000,
            "cut off": b'{"input":"x',
            "two documents": b'{"input":"x"}{}',
            "a NUL behind": b'{"input":"x"}\0',
            "a control character": b'{"input":"\x01"}',
            "half an escape": b'{"input":"\\u12"}',
            "single quotes": b"{'input':'x'}",
            "a comment": b'{"input":"x"}//',
        }.items()
    },
}

# Bodies that are odd, or made to cost time, and are answered all the same.
ODD: dict[str, bytes] = {
    "an empty key": b'{"":"x","input":""}',
    "450 lists": b'{"input":"x","deep":' + b"[" * 450 + b"]" * 450 + b"}",
    "a number of 10,000 digits": b'{"input":"x","n":' + b"1" * 10_000 + b"}",
    "a long fraction": b'{"input":"x","n":0.' + b"1" * 10_000 + b"e999999}",
    "20,000 keys": json.dumps({"input": "x", **{f"k{n}": n for n in range(20_000)}}).encode(),
    "5,000 long keys": json.dumps({"input": "x", **{f"key {n} is long": n for n in range(5_000)}}).encode(),
    "a long key": json.dumps({"input": "x", "k y" * 30_000: 1}).encode(),
    "3,000 short texts": asking([{"role": "user", "content": f"word {n}"} for n in range(3_000)]),
    "10,000 arguments": calls(lambda n: json.dumps({"a": MAIL, "n": n}), 10_000),
    "30,000 items of ours": asking([{"type": "opper:guard"}] * 30_000 + [{"role": "user", "content": "x"}]),
    "arguments 12 deep": calls(lambda _: nested(MAIL, 12), 1),
    "arguments of brackets": calls(lambda _: "[" * 50_000, 1),
    "arguments that are none": calls(lambda _: f'{{"a": "\\u0041 {MAIL}"' * 2_000, 1),
    "a deep and wide value": b'{"input":"%b","x":' % MAIL.encode()
    + b"[" * 450
    + b"1," * 50_000
    + b"1"
    + b"]" * 450
    + b"}",
    "types that are none": b'{"model":[1],"input":{"type":[],"role":{}},"stream":"yes","tools":7}',
    "strings for objects": b'{"reasoning":"x","prompt":[1],"metadata":"y","input":[[["z"]]]}',
    "a surrogate": b'{"input":"\\ud800","\\udfff key of some length":1}',
    "broken data URLs": asking(
        [
            {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
            for url in (
                "data:",
                "data:,",
                "data:;base64,",
                "data:;base64,===",
                "data:text/plain,%",
                "data:image/png;base64,%%",
            )
        ]
    ),
    "broken files": asking(
        [
            {"role": "user", "content": [{"type": "input_file", "file_data": data}]}
            for data in ("A", "=", "====", "A===", "//8=", " ", "data:application/pdf;base64,JVBERi0=")
        ]
    ),
}

# A text of this again and again.
REPEATED = {
    "letters": "x",
    "backslashes": "\\",
    "quotes": '"',
    "braces": "{",
    "digits": "4",
    "digits and blanks": "4 ",
    "digits and dots": "1.",
    "at signs": "a@",
    "percent signs": "%",
    "ampersands": "&",
    "pluses": "+1",
    "parentheses": "(",
    "combining marks": "\u0301",
    "zero-width characters": "\u200b",
    "hidden letters": "a\u200b",
    "blanks": " ",
    "lines": "\n",
    "hyphens": "-",
    "beginnings of keys": "AK" + "IA",
    "beginnings of tokens": "eyJ",
    "beginnings of PEM": "-----BEGIN PRIVATE " + "KEY-----",
    "assignments": "api_key = ",
    "colons": "a:",
    "addresses of mail": MAIL + " ",
    "cards": "4111 1111 1111 " + "1111 ",
    "ideographs": "\u4e2d",
    "emoji": "\U0001f600",
    "schemes": "http://",
    "words": "word ",
}


def repeated(name: str, length: int) -> bytes:
    unit = REPEATED[name]
    return asking(unit * (length // len(unit)))


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(client: Client, name: str) -> None:
    body, code = REFUSED[name]
    for action in ACTIONS:
        got = await sent(client, body, action)
        assert (got.status, got.json["error"]["code"]) == (400, code)


@pytest.mark.parametrize("name", ODD)
async def test_odd(client: Client, name: str) -> None:
    for action in ACTIONS:
        got = await sent(client, ODD[name], action)
        assert got.status == 200 or got.json["error"]["code"] == "guardrail_violation"


@pytest.mark.parametrize("name", REPEATED)
async def test_one_thing_again_and_again(client: Client, name: str) -> None:
    for action in ACTIONS:
        got = await sent(client, repeated(name, 60_000), action)
        assert got.status == 200 or got.json["error"]["code"] == "guardrail_violation"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", REPEATED)
async def test_a_megabyte_of_it(client: Client, name: str) -> None:
    for action in ACTIONS:
        got = await sent(client, repeated(name, 1_000_000), action)
        assert got.status == 200 or got.json["error"]["code"] == "guardrail_violation"


GZIPPED = gzip.compress(asking("hello"), mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", GZIPPED, 200),
        ("GZIP", GZIPPED, 200),
        ("deflate", zlib.compress(asking("hello")), 200),
        ("identity", asking("hello"), 200),
        ("gzip", gzip.compress(asking(" " * 400_000)), 200),
        ("gzip", gzip.compress(b" " * 34_000_000), 415),
        ("gzip", GZIPPED[:-9], 415),
        ("gzip", GZIPPED[:5], 415),
        ("gzip", GZIPPED + b"x", 415),
        ("gzip", GZIPPED + GZIPPED, 415),
        ("gzip", b"", 415),
        ("gzip", asking("hello"), 415),
        ("deflate", zlib.compress(asking("hello"))[2:-4], 415),
        ("br", GZIPPED, 415),
        ("gzip, gzip", gzip.compress(GZIPPED, mtime=0), 415),
        (",", GZIPPED, 415),
        ("é", GZIPPED, 415),
    ],
)
async def test_encodings(client: Client, encoding: str, body: bytes, status: int) -> None:
    for action in ACTIONS:
        got = await sent(client, body, action, {"content-encoding": encoding})
        assert got.status == status


VALID: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": f"to {MAIL}"}]},
        {**CALL, "arguments": '{"to":"x","n":1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "fine"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "metadata": {"a": "b"},
    "stream": False,
}
WIRE = json.dumps(VALID).encode()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
JSONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from([*VALID, "type", "content", "text"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid request in which some bytes were replaced, left out or repeated."""
    body = bytearray(WIRE)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 6)))
        body[start:end] = draw(
            st.binary(max_size=6) | st.sampled_from([b'"', b"\\", b"{", b"]", b"\\ud83d", b"1e9"])
        )
    return bytes(body)


def replaced(draw_value: tuple[str, Any]) -> bytes:
    key, value = draw_value
    return json.dumps({**VALID, key: value}).encode("utf-8", "surrogatepass")


BODIES = (
    st.binary(max_size=200)
    | mutated()
    | JSONS.map(lambda value: json.dumps(value).encode())
    | st.tuples(st.sampled_from([*VALID, "instructions", "text", "prompt", "reasoning"]), JSONS).map(replaced)
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "content-encoding",
            "content-type",
            "content-length",
            "accept-encoding",
            "x-opper-name",
            "traceparent",
            "x-opper-parent-span-id",
            "x-opper-guard-report",
            "x-opper-guard-input",
            "connection",
            "x-other",
        ]
    ),
    st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=12)
    | st.sampled_from(["gzip", "deflate", "identity", "9" * 5000, "items", "none", "pii=block", "close"]),
    max_size=3,
)


@pytest.mark.timeout(400)
@settings(max_examples=300, deadline=None)
@given(body=BODIES, action=st.sampled_from(ACTIONS), headers=HEADERS)
async def test_anything(client: Client, body: bytes, action: str, headers: dict[str, str]) -> None:
    got = await sent(client, body, action, headers)
    assert got.status == 200 or 400 <= got.status < 500
    if got.status == 200:
        assert got.headers["x-guardproxy-verdict"].startswith("input=")
