"""The project's central property: for every chunking, the delivered deltas are the redacted whole."""

import asyncio
import base64
from contextlib import nullcontext
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy.allow import AllowList
from guardproxy.channels import FlowingText
from guardproxy.redaction import splice
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.stage import StageRun
from guardproxy.types import Action, Rule, Stage, TextPart
from tests.samples import guards

WORDS = st.sampled_from(
    [
        "TAG-1234",
        "TAG-123456789",
        "x",
        "yy",
        "xyx",
        "{{",
        "}}",
        "a secret",
        "Zorp",
        "Zo",
        "rp",
        "grrr",
        ". ",
        "\n\n",
        "\u200b",
        "ＴＡＧ-4321",
        "｛｛",
        "word " * 30,
        "Some sentence. " * 8,
        "7",
        "8" * 9,
        "-",
        "\u00ad",
        "😀",
        "\ud83d",
    ]
)
TEXTS = st.lists(WORDS, max_size=25).map("".join)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SAID = "see TAG-1234 and {{some}} braces, xyx"
ENCODED = st.sampled_from(
    [
        b64(SAID),
        b64(b64(SAID)),
        b64("word " * 30 + SAID + " word" * 30),
        base64.encodebytes(("word " * 20 + SAID).encode()).decode(),
        SAID.encode().hex(),
        SAID.encode().hex().encode().hex(),
        quote(SAID, safe=""),
        quote(quote(SAID)),
        "".join(f"%{byte:02x}" for byte in SAID.encode()),
        "".join(f"%{byte:02x}" for byte in b64(SAID).encode()),
        "".join(f"&#{ord(c)};" for c in SAID),
        SAID.replace("A", "\\u0041").replace(" ", "\\n"),
        " ".join("TAG-1234"),
        "-".join("TAG1234"),
        SAID.replace("A", "\u0410"),
        "\u0336".join(SAID),
        "TAG",
        "-1234",
        "4" * 30,
        " ",
        "a",
        "=",
        "%",
        "&#",
        "\\",
        "word " * 10,
        "\u200b",
        ". ",
        "\n",
    ]
)
ENCODED_TEXTS = st.lists(
    ENCODED | ENCODED.flatmap(lambda t: st.integers(0, len(t)).map(lambda cut: t[cut:])), max_size=8
).map("".join)


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(guards(), Settings())


def run_of(scanner: Scanner, *names: str) -> StageRun:
    rules = {name: Rule(Action.REDACT) for name in names}
    return StageRun(Stage.OUTPUT, rules, scanner, "[{category}]", lambda _: nullcontext())


async def whole(scanner: Scanner, text: str, names: tuple[str, ...]) -> str:
    run = run_of(scanner, *names)
    hits = await run.hits([TextPart(("x",), text)], run.guards)
    return splice(text, run.found.ranges(hits[0]), run.placeholder)


async def streamed(scanner: Scanner, chunks: list[str], names: tuple[str, ...]) -> str:
    run = run_of(scanner, *names)
    channel = FlowingText(run, run.guards, ("x",))
    waiting: list[tuple[int, int, str]] = []
    out = ""
    for chunk in chunks:
        start = channel.end
        await channel.push(chunk)
        waiting.append((start, channel.end, chunk))
        while waiting and waiting[0][1] <= channel.safe:
            start, end, text = waiting.pop(0)
            new = channel.take(start, end)
            out += text if new is None else new
    await channel.close()
    for start, end, text in waiting:
        new = channel.take(start, end)
        out += text if new is None else new
    return out


@pytest.mark.parametrize(
    "names", [("tags",), ("pairs",), ("braces",), ("names",), ("mood",), ("tags", "pairs", "braces", "names")]
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, data=st.data())
def test_joined_deltas_are_the_redacted_whole(
    scanner: Scanner, names: tuple[str, ...], text: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=40)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert asyncio.run(streamed(scanner, chunks, names)) == asyncio.run(whole(scanner, text, names))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ENCODED_TEXTS, data=st.data())
def test_encoded_texts_too(scanner: Scanner, text: str, data: st.DataObject) -> None:
    names = ("tags", "braces", "pairs")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=40)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert asyncio.run(streamed(scanner, chunks, names)) == asyncio.run(whole(scanner, text, names))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ENCODED_TEXTS)
def test_encoded_texts_character_by_character(scanner: Scanner, text: str) -> None:
    names = ("tags", "braces")
    assert asyncio.run(streamed(scanner, list(text), names)) == asyncio.run(whole(scanner, text, names))


@given(text=TEXTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_character_by_character(scanner: Scanner, text: str) -> None:
    names = ("tags", "braces", "names", "mood")
    assert asyncio.run(streamed(scanner, list(text), names)) == asyncio.run(whole(scanner, text, names))


async def test_an_endless_open_match_is_swallowed(scanner: Scanner) -> None:
    text = "before {{" + "s" * 40_000 + "}} after"
    chunks = [text[i : i + 100] for i in range(0, len(text), 100)]
    assert await streamed(scanner, chunks, ("braces",)) == "before [BRACES] after"


async def test_an_endless_open_match_in_an_encoding_is_swallowed(scanner: Scanner) -> None:
    text = f"before {b64('{{' + 's' * 40_000)} after TAG-1234"
    chunks = [text[i : i + 100] for i in range(0, len(text), 100)]
    got = await streamed(scanner, chunks, ("braces", "tags"))
    assert got == await whole(scanner, text, ("braces", "tags")) == "before [BRACES] after [TAG]"


@pytest.mark.parametrize("step", [1, 5, 1000])
async def test_what_an_allow_list_has_streams_through(step: int) -> None:
    allow = {"tags": AllowList(["TAG-1234"]), "braces": AllowList(["{{ok}}", "re:(?s).*"])}
    scanner = Scanner(guards(), Settings(allow=allow))
    long = "{{" + "s" * 20_000 + "}}"  # its action is applied before its end is known
    text = f"see TAG-1234, TAG-12345 {{{{ok}}}} and {long} TAG-1234."
    chunks = [text[i : i + step] for i in range(0, len(text), step)]
    redacted = await whole(scanner, text, ("tags", "braces"))
    assert redacted == "see TAG-1234, [TAG] {{ok}} and [BRACES] TAG-1234."
    assert await streamed(scanner, chunks, ("tags", "braces")) == redacted


async def test_floods_of_invisible_characters(scanner: Scanner) -> None:
    text = "a TAG-12" + "\u200b" * 300_000 + "34 b"
    assert await whole(scanner, text, ("tags",)) == "a [TAG] b"
