"""Small guards for tests of the core: their matches are easy to see."""

import asyncio
import re
from collections.abc import Sequence

import msgspec

from guardproxy import Detector, Guard, Match


class Tags(Detector):
    """Local: `TAG-` and four to eight digits, of which it also reports overlapping candidates."""

    name = "tags"
    reach = 16
    inline_below = 20_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [self.one(text) for text in texts]

    def one(self, text: str) -> list[Match]:
        tags = re.finditer(r"(?=(?<![\w-])(TAG-\d{4,8})(?!\d))", text)
        return [Match(*m.span(1), "TAG", validated=True) for m in tags]


class Pairs(Detector):
    """Local, overlapping: each run of three of the letters x and y."""

    name = "pairs"
    reach = 4
    inline_below = 20_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[Match(m.start(), m.start() + 3, "XY") for m in re.finditer("(?=[xy]{3})", t)] for t in texts]


class Braces(Detector):
    """Local with an open match: from `{{` to `}}`."""

    name = "braces"
    reach = 8
    inline_below = 1_000_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [list(self.one(text)) for text in texts]

    def one(self, text: str) -> list[Match]:
        found = []
        for m in re.finditer(r"(?=\{\{)", text):
            close = text.find("}}", m.start() + 2)
            end = len(text) if close < 0 else close + 2
            found.append(Match(m.start(), end, "BRACES", validated=True, open=close < 0))
        return found


class Names(Detector):
    """Blockwise: the word Zorp."""

    name = "names"
    inline_below = 20_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[Match(*m.span(), "NAME") for m in re.finditer(r"\bZorp\b", text)] for text in texts]


class Mood(Detector):
    """Blockwise, a classifier: all of a block with the word grrr."""

    name = "mood"
    inline_below = 20_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[Match(0, len(text), "MOOD", 0.9)] if "grrr" in text else [] for text in texts]


class Raises(Detector):
    """Raises, with the text in its message."""

    name = "raises"
    inline_below = 20_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        if any("boom" in text for text in texts):
            raise ValueError(f"cannot read {texts[0]}")
        return [[] for _ in texts]


class Waits(Detector):
    """Remote, so that it runs in this process: goes on when it is let, and finds all."""

    name = "waits"

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        self.asked.set()
        await self.go.wait()
        return [[Match(0, len(text), "ALL")] for text in texts]


def guards() -> dict[str, Guard]:
    """Each detector as a guard of its own."""
    made = (
        Guard("tags", (Tags(),)),
        Guard("pairs", (Pairs(),)),
        Guard("braces", (Braces(),)),
        Guard("names", (Names(),)),
        Guard("mood", (Mood(),)),
        Guard("raises", (Raises(),)),
    )
    return {guard.name: guard for guard in made}


class Acme(msgspec.Struct):
    """Settings of a plugin, one of each kind that is shown otherwise."""

    preset: str = "default"
    api_token: str | None = None
    address: str = ""
    limits: dict[str, int] = {}
    shares: dict[str, float | None] = msgspec.field(default_factory=lambda: {"a": 0.5, "b": None})
