"""Ways to write a value so that it slips past: every spelling of every value is found, whole and streamed.

To extend: add a spelling to SPELLINGS (a function of the value) or a value to VALUES. A spelling that
no detector can undo belongs into docs/coverage.md instead.
"""

import asyncio
import base64
import html
import random
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy import Guard
from guardproxy.channels import FlowingText
from guardproxy.redaction import splice
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.types import TextPart
from guardproxy_pii.cards import Cards
from guardproxy_pii.iban import Ibans
from guardproxy_pii.mail import Mail
from guardproxy_secrets.context import Contexts
from guardproxy_secrets.pem import PrivateKeys
from guardproxy_secrets.tokens import Tokens
from tests.test_window import run_of

VALUES = {
    "card": "4111 1111 1111 1111",
    "card-plain": "5555555555554444",
    "mail": "ada.lovelace@example.org",
    "iban": "GB82 WEST 1234 5698 7654 32",
    "aws": "AK" + "IAQX3T7ZP2LM5NV4RD",
    "github": "ghp" + "_16C7e42F292c6912E7710c838347Ae178B4a",
}
PHRASE = "Please note {} for later."


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def each(form: str) -> Callable[[str], str]:
    return lambda value: "".join(form.format(ord(c)) for c in value)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda v: v,
    "full width": lambda v: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in v),
    "zero width": "\u200b".join,
    "soft hyphen": "\u00ad".join,
    "tags": lambda v: v[:3] + "\U000e0041\U000e007f" + v[3:],
    "bidi": lambda v: "\u202d" + v[:4] + "\u2066" + v[4:] + "\u202c",
    "control": lambda v: v[:5] + "\x7f\x01" + v[5:],
    "variation": lambda v: v[:5] + "\ufe0f" + v[5:],
    "cyrillic": lambda v: v.translate(str.maketrans("AaceoPpTxIG", "АасеоРрТхІԌ")),
    "arabic digits": lambda v: v.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
    "mathematical": lambda v: v.translate({ord("0") + i: 0x1D7CE + i for i in range(10)}),
    "struck through": lambda v: "".join(c + "\u0336" for c in v),
    "spaced": lambda v: " ".join(v.replace(" ", "")),
    "spaced by no-break spaces": lambda v: "\u00a0".join(v.replace(" ", "")),
    "json": each("\\u{:04x}"),
    "json twice": each("\\\\u{:04x}"),
    "javascript": each("\\u{{{:x}}}"),
    "c": each("\\x{:02x}"),
    "html decimal": each("&#{};"),
    "html hexadecimal": each("&#x{:X};"),
    "html names": lambda v: v.replace("@", "&commat;").replace(".", "&period;").replace("_", "&lowbar;"),
    "url": lambda v: quote(v, safe=""),
    "url, all": each("%{:02x}"),
    "url twice": lambda v: quote(quote(v, safe=""), safe=""),
    "url three times": lambda v: quote(quote(quote(v, safe=""), safe=""), safe=""),
    "html in url": lambda v: quote(html.escape(v).replace("@", "&#64;"), safe=""),
    "base64": lambda v: b64(f"see {v}."),
    "base64 alone": b64,
    "base64 without padding": lambda v: b64(v).rstrip("="),
    "base64url": lambda v: base64.urlsafe_b64encode(f"ÿþ {v} ÿþ".encode()).decode(),
    "base64, wrapped": lambda v: base64.encodebytes(f"{'x' * 70} {v} {'y' * 70}".encode()).decode(),
    "base64 of UTF-16": lambda v: base64.b64encode(f"echo {v}".encode("utf-16-le")).decode(),
    "base64 twice": lambda v: b64(b64(f"see {v}.")),
    "base64 three times": lambda v: b64(b64(b64(f"see {v}."))),
    "base64 behind a path": lambda v: f"blob/{b64(f'see {v}.')}",
    "base64 in a data URL": lambda v: f"data:text/plain;base64,{b64(f'see {v}.')}",
    "base64 of a long text": lambda v: b64("word " * 800 + v + " word" * 800),
    "hex": lambda v: f"see {v}.".encode().hex(),
    "hex, upper case": lambda v: f"see {v}.".encode().hex().upper(),
    "hex of base64": lambda v: b64(f"see {v}.").encode().hex(),
    "base64 of hex": lambda v: b64(f"see {v}.".encode().hex()),
    "url of base64": lambda v: quote(b64(f"?>? {v} ?>?"), safe=""),
    "url of base64, all": lambda v: each("%{:02x}")(b64(f"see {v}.")),
    "base64 of url": lambda v: b64(f"see {quote(v, safe='')}."),
    "base64 of html": lambda v: b64(f"see {each('&#{};')(v)}."),
    "base64 of full width": lambda v: b64("".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in v)),
    "json of base64": lambda v: b64(f"?>? {v} ?>?").replace("/", "\\/"),
    "hex behind 0x": lambda v: f"0x{v.encode().hex()}",
    "hex in a path": lambda v: f"/u/{v.encode().hex()}_zz",
    "hex, a long one, in a word": lambda v: (v + " " + "lorem ipsum " * 150).encode().hex() + "zz",
    "base64 with zeros": lambda v: base64.b64encode(v.encode() + bytes(40)).decode(),
    "base64 of two encodings": lambda v: base64.b64encode(
        v.encode("utf-16-le") + b"hello world, this is a long text " * 4
    ).decode(),
    "spaced, in quotes": lambda v: '"' + " ".join(v.replace(" ", "")) + '".',
    "spaced, behind a word": lambda v: "a " + " ".join(v.replace(" ", "")) + " I think",
    "zero width in hex of hex": lambda v: "\u200b".join(v.encode().hex().encode().hex()),
    "full width hex of hex": lambda v: "".join(chr(ord(c) + 0xFEE0) for c in v.encode().hex().encode().hex()),
    "look-alikes in base64": lambda v: b64(each("\\u{:04x}")(f"see {v}.")).translate({ord("c"): "с"}),
    "hex whose first digits are escaped": lambda v: (
        "}\\u{34}\\u{34}" + each("\\\\u{:04x}")(v).encode().hex()[2:]
    ),
    "json in arabic digits": lambda v: SPELLINGS["arabic digits"](each("\\u{:04x}")(v)),
    "json web token": lambda v: "eyJhbGciOiJub25lIn0." + b64('{"sub":"' + v + '"}').rstrip("=") + ".",
}


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    detectors = (Cards(), Ibans(), Mail(), Tokens(), PrivateKeys())
    for detector in detectors:
        detector.load()
        detector.inline_below = 1 << 30
    return Scanner({"all": Guard("all", detectors)}, Settings())


async def whole(scanner: Scanner, text: str) -> str:
    run = run_of(scanner, "all")
    hits = await run.hits([TextPart(("x",), text)], run.guards)
    return splice(text, run.found.ranges(hits[0]), run.placeholder)


async def streamed(scanner: Scanner, text: str, cuts: list[int]) -> list[str]:
    """What has left after each chunk."""
    run = run_of(scanner, "all")
    channel = FlowingText(run, run.guards, ("x",))
    left = [""]
    start = 0
    waiting: list[tuple[int, int]] = []
    for end in [*cuts, len(text)]:
        await channel.push(text[start:end])
        waiting.append((start, end))
        start = end
        if end == len(text):
            await channel.close()
        out = left[-1]
        while waiting and waiting[0][1] <= channel.safe:
            low, high = waiting.pop(0)
            new = channel.take(low, high)
            out += text[low:high] if new is None else new
        left.append(out)
    return left


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("value", VALUES)
async def test_no_spelling_slips_past(scanner: Scanner, value: str, spelling: str) -> None:
    spelled = SPELLINGS[spelling](VALUES[value])
    text = PHRASE.format(spelled)
    redacted = await whole(scanner, text)
    assert redacted.startswith("Please note ")
    assert redacted.endswith(" for later.")
    assert "[" in redacted
    # What is left says nothing: nothing is found in it again, and it is shorter by the value's length.
    assert await whole(scanner, redacted) == redacted
    assert len(redacted.partition("[")[0]) + len(redacted.rpartition("]")[2]) <= len(text) - len(
        VALUES[value]
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_chunking_lets_it_slip_past(scanner: Scanner, spelling: str) -> None:
    chance = random.Random(spelling)
    for value in VALUES.values():
        text = PHRASE.format(SPELLINGS[spelling](value))
        redacted = await whole(scanner, text)
        length = len(text)
        every = [list(range(1, length)), []] if length < 800 else [[]]
        for cuts in [*every, *(sorted(chance.sample(range(length), min(12, length))) for _ in range(4))]:
            left = await streamed(scanner, text, cuts)
            assert left[-1] == redacted
            assert all(redacted.startswith(part) for part in left)


def spelled(value: str, inner: str, outer: str) -> str:
    """`value` in one spelling, or in two if it does not get too long."""
    once = SPELLINGS[inner](value)
    return (SPELLINGS[outer](once) if len(once) < 400 else once)[:1500]


NOISE = [
    "word ",
    "x",
    "\n",
    " ",
    "=",
    "/",
    "-",
    "%",
    "&#",
    "\\",
    "с",
    "\u200b",
    "zz",
    "1 ",
    "4111 ",
    ".",
    "\\u{47}",
]
SPELLED = st.builds(
    spelled, st.sampled_from(list(VALUES.values())), *[st.sampled_from(list(SPELLINGS))] * 2
).flatmap(
    lambda text: (
        st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(
            lambda cut: text[slice(*sorted(cut))] or text
        )
        | st.just(text)
    )
)
COMPOSED = st.lists(
    SPELLED | st.sampled_from([*NOISE, "Some sentence here. "]) | st.integers(1, 300).map("a".__mul__),
    min_size=1,
    max_size=5,
).map("".join)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=COMPOSED, step=st.integers(1, 60))
def test_texts_of_spellings_are_streamed_as_they_are_read(scanner: Scanner, text: str, step: int) -> None:
    redacted = asyncio.run(whole(scanner, text))
    for size in {step, 1} if len(text) < 500 else {step, 7}:
        left = asyncio.run(streamed(scanner, text, list(range(size, len(text), size))))
        assert left[-1] == redacted
        assert all(redacted.startswith(part) for part in left)


LINES = "\n".join("".join(random.Random(i).choices("ABCDEFGHabcdefgh0123456789+/", k=64)) for i in range(290))
LONG = {
    "private key": f"-----BEGIN {'PRIVATE KEY'}-----\n{LINES}\n-----END {'PRIVATE KEY'}-----",
    "json web token": "eyJhbGciOiJub25lIn0." + LINES.translate({ord("\n"): "", ord("+"): "-", ord("/"): "_"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "spelling",
    ["plain", "zero width", "spaced", "json twice", "javascript", "html decimal", "url", "base64", "hex",
     "base64, wrapped", "url of base64, all", "full width hex of hex", "look-alikes in base64"],
)  # fmt: skip
@pytest.mark.parametrize("value", LONG)
async def test_what_is_too_long_to_be_seen_as_one_is_swallowed(
    scanner: Scanner, value: str, spelling: str
) -> None:
    text = PHRASE.format(SPELLINGS[spelling](LONG[value])) + " My card: 4111 1111 1111 1111 ok"
    redacted = await whole(scanner, text)
    assert redacted.endswith(
        "] for later. My card: [CREDIT_CARD] ok".removeprefix("]" if "wrapped" in spelling else "")
    )
    assert len(redacted) < 220  # of wrapped base64, two lines before it stay
    left = await streamed(scanner, text, list(range(997, len(text), 997)))
    assert left[-1] == redacted
    assert all(redacted.startswith(part) for part in left)


async def test_an_open_match_goes_on_behind_an_escape_that_was_cut(scanner: Scanner) -> None:
    token = SPELLINGS["json web token"](SPELLINGS["base64 of two encodings"](VALUES["card"]))
    text = "Some sentence here. " + token + SPELLINGS["javascript"](VALUES["iban"])
    redacted = await whole(scanner, text)
    assert redacted == "Some sentence here. [JSON_WEB_TOKEN]"
    for step in (1, 7, 36):
        left = await streamed(scanner, text, list(range(step, len(text), step)))
        assert left[-1] == redacted
        assert all(redacted.startswith(part) for part in left)


BODY = "".join(random.Random(3).choices("ABCDEFGHabcdefgh0123456789", k=25_000))


@pytest.mark.parametrize(
    "text",
    [
        # Packed, and seen whole or swallowed, as the chunks come; more is packed behind it.
        SPELLINGS["base64, wrapped"](f"{LONG['private key'][:16_600]}\n-----END {'PRIVATE KEY'}-----"),
        b64(f"{LONG['private key'][:12_300]}\n-----END {'PRIVATE KEY'}----- {'y' * 70}"),
        b64(b64(f"{LONG['private key'][:14_000]}\n-----END {'PRIVATE KEY'}-----")) + "\nSome sentence here.",
        # Marks that may belong to a key, and invisible characters at the end of one.
        f"eyJhbGciOiJub25lIn0.{BODY[:100]}{'.' * 20_000} ok",
        LONG["private key"].partition("-----END")[0] + "\u200b" * 70,
        "x " * 4090 + LONG["private key"].partition("-----END")[0] + "\u200b" * 70,
    ],
)  # fmt: skip
async def test_a_long_match_ends_in_the_same_place_however_it_comes(scanner: Scanner, text: str) -> None:
    redacted = await whole(scanner, text)
    for step in (97, 331, 997, 4001, 8192, 20_000, len(text)):
        left = await streamed(scanner, text, list(range(step, len(text), step)))
        assert left[-1] == redacted
        assert all(redacted.startswith(part) for part in left)


@pytest.mark.parametrize("length", [1000, 17_000, 25_000])
@pytest.mark.parametrize(
    ("before", "mark"),
    [
        ("api_key=", "."),
        ("Authorization: Bearer ", "."),
        ("authorization: key=", "!"),  # two matches, and the second goes on behind the first
    ],
)
async def test_a_long_value_that_its_name_gives_away_goes_on_to_its_end(
    before: str, mark: str, length: int
) -> None:
    contexts = Contexts()
    contexts.load()
    contexts.inline_below = 1 << 30
    alone = Scanner({"all": Guard("all", (contexts,))}, Settings())
    text = f"x {before}{BODY[:length]}{mark}{BODY[:400]} ok"
    redacted = await whole(alone, text)
    assert redacted.startswith("x ")
    assert redacted.endswith("] ok")
    assert BODY[100:110] not in redacted
    for step in (50, 997, 8192):
        assert (await streamed(alone, text, list(range(step, len(text), step))))[-1] == redacted


@pytest.mark.parametrize("dash", ["&#45;", "\\u002d", "\u2010"])
async def test_a_long_private_key_whose_first_line_is_disguised(scanner: Scanner, dash: str) -> None:
    begin, end = "----BEGIN " + "PRIVATE KEY-----", "-----END " + "PRIVATE KEY-----"
    chance = random.Random(1)
    lines = ["".join(chance.choices("ABCDEFGHabcdefgh0123456789+/", k=64)) for _ in range(300)]
    text = f"k:\n  {dash}{begin}\n" + "".join(f"  {line}\n" for line in lines) + f"  {end}\nok"
    redacted = await whole(scanner, text)
    assert redacted == "k:\n  [PRIVATE_KEY]\nok"
    assert (await streamed(scanner, text, list(range(200, len(text), 200))))[-1] == redacted


def test_chains_of_open_matches_are_followed_once(scanner: Scanner) -> None:
    chance = random.Random(2)
    for prefix, size in (("-sk-" + "proj-", 41), ("key=", 20)):
        keys = ("".join(chance.choices("ABCDEFGHabcdefgh0123456789", k=size)) for _ in range(2000))
        text = "x " + "".join(f"{prefix}{key}" for key in keys) + " y"
        redacted = asyncio.run(whole(scanner, text))
        assert redacted.startswith("x ")


@pytest.mark.parametrize(
    "text",
    [
        "5449\t\t7650\t\t2377\t\t9255",
        "5449  7650  2377  9255",
        "5449 / 7650 / 2377 / 9255",
        "git clone git@github.com:foo/bar.git",
    ],
)
async def test_what_no_reading_makes_a_match_of(scanner: Scanner, text: str) -> None:
    assert await whole(scanner, text) == text


@pytest.mark.parametrize(
    "unit",
    ["\\", '"', "%", "%25", "&", "&amp;", "&#", "a@", "7", "7 ", "1234  ", "A", "A" * 76 + "\n", "\u200b",
     "a\u0301", "а", "-", "a-", "\\u0041", "41", "\\ud83d", "%e2%82", "\U0001d7d8", "eyJ", "-----BEGIN "],
)  # fmt: skip
async def test_time_is_linear_in_the_text(scanner: Scanner, unit: str) -> None:
    """A text made to be slow is through in seconds; were it quadratic, it would take hours."""
    run = run_of(scanner, "all")
    await run.hits([TextPart(("x",), (unit * 300_000)[:300_000])], run.guards)
