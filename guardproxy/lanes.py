"""A detector's way through a text that arrives piece by piece: which of its matches are certain.

Streams go this way, and whole texts do where a match is longer than a detector's reach: so it ends
in both where it ends in the other.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardproxy.blocks import Block, next_cut
from guardproxy.readings import (
    SLACK,
    Reading,
    back_from,
    clean,
    may_differ,
    on_from,
    packed_to,
    plain,
    readings,
)
from guardproxy.redaction import order
from guardproxy.scanning import DetectorRef, Meter, Scanner
from guardproxy.types import Match

LONGEST_OPEN = 16 * 1024  # characters of a match that are seen as one
# An open one is held for a few more: while more of it may come, it seems longer than it turns out to be.
_LONGEST_HELD = LONGEST_OPEN + 4 * 1024
ENDLESS = 1 << 62


class Tail:
    """The part of an arriving text that is still needed; positions are those of the whole text."""

    def __init__(self, start: int = 0) -> None:
        self.text = ""
        self.start = start
        self._read: tuple[int, int, list[Reading]] = (-1, -1, [])
        self._back: dict[tuple[int, int], int] = {}

    @property
    def end(self) -> int:
        """The length of the text so far."""
        return self.start + len(self.text)

    def piece(self, start: int, end: int) -> str:
        """The characters [start, end)."""
        return self.text[max(0, start - self.start) : max(0, end - self.start)]

    def readings(self, start: int) -> list[Reading]:
        """The readings of the characters from `start` on; the same for all lanes that ask for the same."""
        if self._read[:2] != (start, self.end):
            self._read = (start, self.end, readings(clean(self.piece(start, self.end))))
        return self._read[2]

    def rest(self) -> None:
        """Keep no readings until more text comes: there may be thousands of streams that wait."""
        self._read = (-1, -1, [])
        self._back.clear()

    def back(self, position: int, count: int) -> int:
        """`count` visible characters before `position`; all lanes ask for the same."""
        if (position, count) not in self._back:
            self._back[position, count] = back_from(self.text, position - self.start, count) + self.start
        return self._back[position, count]

    def drop(self, position: int) -> None:
        """Forget what is before `position`."""
        if position > self.start:
            self.text = self.text[position - self.start :]
            self.start = position


class Lane(abc.ABC):
    """One detector's way through an arriving text."""

    def __init__(self, scanner: Scanner, ref: DetectorRef, meter: Meter | None) -> None:
        self._scanner = scanner
        self._ref = ref
        self._meter = meter
        self.known = 0  # all matches that start before this are found

    @abc.abstractmethod
    async def advance(self, tail: Tail, final: bool) -> list[Match]:
        """The matches that have become certain; one that ends at `ENDLESS` comes again when it has closed."""

    @property
    @abc.abstractmethod
    def needs(self) -> int:
        """The first position that this lane must see again."""

    async def _seen(self, read: Sequence[Sequence[Reading]]) -> list[list[Match]]:
        return await seen(self._scanner, self._ref, read, self._meter)


@dataclass(frozen=True, slots=True)
class _Swallowed:
    """A match that is too long to be seen as one: its action holds until it closes."""

    match: Match
    packed: bool  # it was unpacked from base64 or hex, and ends where its packing does
    openings: "tuple[_Opening, ...]"  # also those of matches that began in it, and may go on behind it


@dataclass(frozen=True, slots=True)
class _Opening:
    """The first characters of a match behind those before it, in a reading that shows it."""

    text: str
    start: int  # of the match in `text`
    category: str


class LocalLane(Lane):
    """A detector with a reach, from `start` on; its text is seen from `first` on.

    A match no longer than the reach is certain once `reach` characters have come behind its start, a
    longer one once they have come behind its end: what goes on with it may be an escape that was cut.
    """

    def __init__(
        self,
        scanner: Scanner,
        ref: DetectorRef,
        reach: int,
        meter: Meter | None,
        start: int = 0,
        first: int = 0,
    ) -> None:
        super().__init__(scanner, ref, meter)
        self.reach = reach
        self.known = start
        self._needs = first
        # Scanning for each single character would cost more than holding a few more of them.
        self._step = max(8, self.reach // 4)
        self._next = 0
        self._swallowed: _Swallowed | None = None

    @property
    def needs(self) -> int:
        """The left context of what is not known yet."""
        return self._needs

    async def advance(self, tail: Tail, final: bool) -> list[Match]:
        """Scan what arrived, once enough has."""
        found: list[Match] = []
        again = final or tail.end >= self._next
        while again:
            swallowed = self._swallowed
            found += await (self._swallow(swallowed, tail, final) if swallowed else self._scan(tail, final))
            again = self._swallowed is not swallowed  # one was too long, or closed: what has come is not done
        return found

    async def _scan(self, tail: Tail, final: bool) -> list[Match]:
        end = tail.end if final else tail.back(tail.end, self.reach)
        if end <= self.known and not final:
            # To look again at each event at what is held for long would take time without bound.
            held = tail.end - self.known
            self._next = max(self.known + self.reach + self._step, tail.end + held // 8)
            return []
        first = self._needs
        (matches,) = await self._seen([tail.readings(first)])
        found = [shifted(match, first) for match in matches]
        certain = [m for m in found if self.known <= m.start and (m.start < end or final)]
        growing = [] if final else [m for m in certain if goes_on(m, end, self.reach)]
        certain = self._distinct(tail, certain)
        # One that a stream may have swallowed ends there too where its packing does.
        long = [m for m in certain if m not in growing and m.end - m.start >= LONGEST_OPEN]
        growing += [m for m in long if (await self._swallowing(tail, m)).packed]
        if growing:
            return await self._grow(tail, sorted(growing, key=order), certain, final)
        self.known = end
        self._needs = tail.back(end, self.reach)
        # Within escapes and packing much is seen again for each new character.
        self._next = tail.end + max(self._step, (tail.end - self._needs) // 8)
        return [replace(match, open=False) if match.open else match for match in certain]

    def _distinct(self, tail: Tail, matches: list[Match]) -> list[Match]:
        """Without what lies in a match that a stream would have swallowed."""
        for long in (m for m in matches if m.end - m.start >= LONGEST_OPEN):
            last = tail.back(long.end, self.reach)
            matches = [m for m in matches if not (long.start < m.start < last and m.end <= long.end)]
        return matches

    async def _grow(self, tail: Tail, every: list[Match], certain: list[Match], final: bool) -> list[Match]:
        """Matches that may go on: wait for more, or when the first is too long, apply the action now."""
        growing = every[0]
        self.known = growing.start
        self._needs = tail.back(growing.start, self.reach)
        before = [m for m in certain if m.start < growing.start]
        length = growing.end - growing.start
        if length < (_LONGEST_HELD if growing.open and not final else LONGEST_OPEN):
            self._next = tail.end + max(self._step, (tail.end - growing.start) // 4)
            return before
        swallowed = await self._swallowing(tail, growing)
        for other in {m.category: m for m in reversed(every) if m.category != growing.category}.values():
            openings = (await self._swallowing(tail, other)).openings
            swallowed = replace(swallowed, openings=(*swallowed.openings, *openings))
        self._swallowed = swallowed
        self._look_back(tail, min(growing.end, tail.end))
        return [*before, self._swallowed.match]

    async def _swallowing(self, tail: Tail, long: Match) -> _Swallowed:
        match = replace(long, end=ENDLESS, open=True)
        first = tail.back(long.start, self.reach)
        start = long.start - first
        text = clean(tail.piece(first, long.end))
        openings: dict[_Opening, None] = {}
        for form, m in await self._shown(text[: on_from(text, start, self.reach)], match, start):
            before = max(0, m.start - self.reach)
            opening = form.text[before : m.start + self.reach]
            openings[_Opening(opening, m.start - before, m.category)] = None
        packed = not openings and not await self._shown(text, match, start)
        return _Swallowed(match, packed, tuple(openings))

    async def _shown(self, text: str, match: Match, start: int) -> list[tuple[Reading, Match]]:
        """Where the readings of `text` that are not unpacked show a match like `match` at `start`."""
        forms = [form for form in readings(text) if not form.packed]
        results = await self._scanner.scan(self._ref, [form.text for form in forms], self._meter)
        return [
            (form, m)
            for form, matches in zip(forms, results, strict=True)
            for m in matches
            if m.category == match.category and form.back(m).start == start
        ]

    def _look_back(self, tail: Tail, end: int) -> None:
        """What comes before `end` is swallowed, but for its last characters: they tell whether it goes on."""
        self.known = tail.back(end, self.reach)
        self._needs = tail.back(tail.back(self.known, self.reach), self.reach)
        # Escapes and packing make much text of few characters: it is looked at again when more has come.
        self._next = tail.end + max(self.reach, (tail.end - self._needs) // 4)

    async def _swallow(self, swallowed: _Swallowed, tail: Tail, final: bool) -> list[Match]:
        """Does the match close in what arrived?"""
        close = await self._reached(swallowed, tail)
        more = close > tail.back(tail.end, self.reach)
        if more and not final:
            self._look_back(tail, tail.end)
            return []
        self._swallowed = None
        # What begins in its last characters may go on behind it.
        self.known = max(swallowed.match.start + 1, tail.back(close, self.reach))
        self._needs = tail.back(self.known, self.reach)
        self._next = 0
        return [replace(swallowed.match, end=close, open=False)]

    async def _reached(self, swallowed: _Swallowed, tail: Tail) -> int:
        """How far the match goes, by its opening and the text from `needs` on."""
        latest = clean(tail.piece(self._needs, tail.end))
        if swallowed.packed:
            return self._needs + packed_to(latest, self.known - self._needs)
        cut = SLACK if may_differ(latest) else 0  # it may begin within an escape
        joined = [
            (opening, form)
            for form in readings(latest)
            if not form.packed and len(form.text) > cut
            for opening in swallowed.openings
        ]
        texts = [opening.text + form.text[cut:] for opening, form in joined]
        results = await self._scanner.scan(self._ref, texts, self._meter)
        # Without an opening that a detector knows again, nothing tells: then all that comes belongs to it.
        close = 0 if swallowed.openings else len(latest)
        for (opening, form), matches in zip(joined, results, strict=True):
            for match in matches:
                end = match.end - len(opening.text) + cut
                if match.start == opening.start and match.category == opening.category and end > cut:
                    close = max(close, form.back(replace(match, start=cut, end=end)).end)
        return self._needs + close


class BlockLane(Lane):
    """A detector that sees blocks."""

    def __init__(self, scanner: Scanner, ref: DetectorRef, meter: Meter | None) -> None:
        super().__init__(scanner, ref, meter)
        self._cut = 0
        self._unowned: list[Match] = []

    @property
    def needs(self) -> int:
        """Where the next block is seen from."""
        return self._block(self._cut, self._cut).seen

    def _block(self, start: int, end: int, *, last: bool = False) -> Block:
        return Block(start, end, last, self._ref.context)

    async def advance(self, tail: Tail, final: bool) -> list[Match]:
        """Scan the blocks that are complete."""
        ready: list[Block] = []
        cut = self._cut
        while (new := next_cut(tail.text, cut - tail.start)) is not None:
            new += tail.start
            ready.append(self._block(cut, new))
            cut = new
        if final and cut < tail.end:
            ready.append(self._block(cut, tail.end, last=True))
            cut = tail.end
        if not ready and not final:
            return []
        read = [plain(clean(tail.piece(block.seen, block.end))) for block in ready]
        results = await self._seen(read) if read else []
        certain: list[Match] = []
        for block, matches in zip(ready, results, strict=True):
            certain += block.own(matches)
            every = self._block(block.start, block.end, last=True).own(matches)
            self._unowned = [m for m in every if m.start >= block.end - block.margin and m not in certain]
        if final and not (ready and ready[-1].last):
            certain += self._unowned  # the text ended right at a cut: its last block owns them after all
        self._cut = cut
        self.known = tail.end if final else cut - self._block(cut, cut).margin
        return certain


def goes_on(match: Match, end: int, reach: int) -> bool:
    """Whether `match` may be longer than what is seen of it, when matches are certain up to `end`."""
    return match.end > end and (match.open or match.end - match.start > reach)


def shifted(match: Match, offset: int) -> Match:
    """`match` with its offsets moved."""
    if not offset:
        return match
    return Match(
        match.start + offset,
        match.end + offset,
        match.category,
        match.score,
        match.validated,
        match.open,
        match.packed,
    )


async def seen(
    scanner: Scanner, ref: DetectorRef, read: Sequence[Sequence[Reading]], meter: Meter | None = None
) -> list[list[Match]]:
    """The matches in each slice, by its readings; of a derived reading only the validated ones."""
    texts = [reading.text for of_slice in read for reading in of_slice]
    results = iter(await scanner.scan(ref, texts, meter))
    found: list[list[Match]] = []
    for of_slice in read:
        matches = next(results)
        if len(of_slice) > 1:
            every = dict.fromkeys(matches)
            for reading in of_slice[1:]:
                every |= dict.fromkeys(
                    reading.back(m) for m in next(results) if m.validated or not reading.derived
                )
            matches = list(every)
        found.append(matches)
    return found
