"""The hold-back window: one text as it arrives, and how much of it is safe to deliver.

For every chunking, the delivered pieces joined are the redacted whole, and no character of a match
has left before. The window is built from the pieces that whole texts are inspected in: a local
detector knows all matches that start `reach` characters before the end of what arrived, a
blockwise one those that its finished blocks own. What lies before the least of these positions,
and not inside of a range that reaches beyond it, is final.
"""

import abc
from collections.abc import Iterable

from guardproxy.blocks import MARGIN, Block, next_cut
from guardproxy.decodings import packing_end
from guardproxy.errors import GuardFailed, Overloaded, Uninspectable
from guardproxy.inspection import LONGEST_OPEN, is_packed, reach_of, seen, shifted
from guardproxy.readings import Reading, back_from, clean, on_from, plain, readings
from guardproxy.redaction import Range, merge
from guardproxy.scanning import DetectorRef
from guardproxy.stage import GuardRun, Hit, StageRun
from guardproxy.types import Match

MOST_HELD = 64 * 1024  # characters that are held at all; only a flood of invisible ones gets there
ENDLESS = 1 << 62


class Tail:
    """The part of an arriving text that is still needed; positions are those of the whole text."""

    def __init__(self) -> None:
        self.text = ""
        self.start = 0
        self._read: tuple[int, int, list[Reading]] = (-1, -1, [])

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

    def back(self, position: int, count: int) -> int:
        """`count` visible characters before `position`."""
        return back_from(self.text, position - self.start, count) + self.start

    def drop(self, position: int) -> None:
        """Forget what is before `position`."""
        if position > self.start:
            self.text = self.text[position - self.start :]
            self.start = position


class Lane(abc.ABC):
    """One detector's way through an arriving text."""

    def __init__(self, guard: GuardRun, ref: DetectorRef) -> None:
        self.guard = guard
        self.ref = ref
        self.known = 0  # all matches that start before this are found

    @abc.abstractmethod
    async def advance(self, run: StageRun, tail: Tail, final: bool) -> list[Match]:
        """The matches that have become certain."""

    @property
    @abc.abstractmethod
    def needs(self) -> int:
        """The first position that this lane must see again."""


class LocalLane(Lane):
    """A detector with a reach."""

    def __init__(self, guard: GuardRun, ref: DetectorRef, reach: int) -> None:
        super().__init__(guard, ref)
        self.reach = reach
        self._needs = 0
        # Scanning for each single character would cost more than holding a few more of them.
        self._step = max(8, self.reach // 4)
        self._next = 0
        self._swallowing: tuple[Match, str] | None = None
        self._packed = False  # what is swallowed was found in a decoded reading

    @property
    def needs(self) -> int:
        """The left context of what is not known yet."""
        return self._needs

    async def advance(self, run: StageRun, tail: Tail, final: bool) -> list[Match]:
        """Scan what arrived, once enough has."""
        if tail.end < self._next and not final:
            return []
        if self._swallowing:
            return await self._swallow(run, tail, final)
        end = tail.end if final else tail.back(tail.end, self.reach)
        if end <= self.known and not final:
            # To look again at each event at what is held for long would take time without bound.
            held = tail.end - self.known
            self._next = max(self.known + self.reach + self._step, tail.end + held // 8)
            return []
        first = self._needs
        (matches,) = await seen(run.scanner, self.ref, [tail.readings(first)], self.guard.meter)
        found = [shifted(match, first) for match in matches]
        certain = [m for m in found if self.known <= m.start and (m.start < end or final)]
        growing = [m for m in certain if m.open and m.end == tail.end and not final]
        if growing:
            return await self._grow(run, tail, min(growing, key=lambda m: m.start), certain)
        self.known = end
        self._needs = tail.back(end, self.reach)
        self._next = tail.end + self._step
        return certain

    async def _grow(self, run: StageRun, tail: Tail, growing: Match, certain: list[Match]) -> list[Match]:
        """An open match at the end: wait for more of it, or when it is too long, apply the action now."""
        self.known = growing.start
        self._needs = tail.back(growing.start, self.reach)
        held = tail.end - growing.start
        before = [m for m in certain if m.start < growing.start]
        if held < LONGEST_OPEN:
            self._next = tail.end + max(self._step, held // 4)
            return before
        endless = Match(growing.start, ENDLESS, growing.category, growing.score, growing.validated, True)
        opened = on_from(tail.text, growing.start - tail.start, self.reach) + tail.start
        self._swallowing = (endless, tail.piece(growing.start, opened))
        text = tail.piece(growing.start, tail.end)
        self._packed = await is_packed(run.scanner, self.ref, text, growing.category, self.guard.meter)
        self._seen_up_to(tail)
        return [*before, endless]

    def _seen_up_to(self, tail: Tail) -> None:
        self.known = tail.end
        self._needs = max(tail.start, tail.end - self.reach)
        self._next = tail.end + self._step

    async def _swallow(self, run: StageRun, tail: Tail, final: bool) -> list[Match]:
        """Does the construct close in what arrived? Its opening and its last characters tell."""
        assert self._swallowing is not None
        endless, opening = self._swallowing
        if self._packed:
            close = packing_end(tail.text, self.known - tail.start) + tail.start
            if close == tail.end and not final:
                self._seen_up_to(tail)
                return []
            return await self._closed(run, tail, close, final)
        latest = tail.piece(self._needs, tail.end)
        results = await seen(run.scanner, self.ref, [readings(clean(opening + latest))], self.guard.meter)
        whole = [m for m in results[0] if m.start == 0 and m.category == endless.category]
        end = max((m.end for m in whole), default=0)
        if end == len(opening) + len(latest) and any(m.open for m in whole) and not final:
            self._seen_up_to(tail)
            return []
        return await self._closed(run, tail, self._needs + max(0, end - len(opening)), final)

    async def _closed(self, run: StageRun, tail: Tail, close: int, final: bool) -> list[Match]:
        assert self._swallowing is not None
        endless, _ = self._swallowing
        self._swallowing = None
        self.known = close
        self._needs = tail.back(close, self.reach)
        self._next = 0
        closed = Match(endless.start, close, endless.category, endless.score, endless.validated)
        return [closed, *await self.advance(run, tail, final)]


class BlockLane(Lane):
    """A detector that sees blocks."""

    def __init__(self, guard: GuardRun, ref: DetectorRef) -> None:
        super().__init__(guard, ref)
        self._cut = 0
        self._unowned: list[Match] = []

    @property
    def needs(self) -> int:
        """Where the next block is seen from."""
        return Block(self._cut, self._cut, last=False).seen

    async def advance(self, run: StageRun, tail: Tail, final: bool) -> list[Match]:
        """Scan the blocks that are complete."""
        ready: list[Block] = []
        cut = self._cut
        while (new := next_cut(tail.text, cut - tail.start)) is not None:
            new += tail.start
            ready.append(Block(cut, new, last=False))
            cut = new
        if final and cut < tail.end:
            ready.append(Block(cut, tail.end, last=True))
            cut = tail.end
        if not ready and not final:
            return []
        read = [plain(clean(tail.piece(block.seen, block.end))) for block in ready]
        results = await seen(run.scanner, self.ref, read, self.guard.meter) if read else []
        certain: list[Match] = []
        for block, matches in zip(ready, results, strict=True):
            certain += block.own(matches)
            every = Block(block.start, block.end, last=True).own(matches)
            self._unowned = [m for m in every if m.start >= block.end - MARGIN and m not in certain]
        if final and not (ready and ready[-1].last):
            certain += self._unowned  # the text ended right at a cut: its last block owns them after all
        self._cut = cut
        self.known = tail.end if final else cut - MARGIN
        return certain


class Window:
    """One text as it arrives, under some of a stage's guards."""

    def __init__(self, run: StageRun, guards: Iterable[GuardRun]) -> None:
        self._run = run
        self._tail = Tail()
        refs = [
            (guard, ref)
            for guard in guards
            if guard.name not in run.failed
            for ref in run.scanner.refs(guard.name)
        ]
        reach = reach_of(ref for _, ref in refs)
        self._lanes: list[Lane] = [
            BlockLane(guard, ref) if ref.reach is None else LocalLane(guard, ref, reach)
            for guard, ref in refs
        ]
        self._matches: list[Hit] = []
        self._ranges: list[Range] = []
        self.safe = 0
        self.closed = False

    @property
    def end(self) -> int:
        """The length of the text so far."""
        return self._tail.end

    async def push(self, text: str) -> list[Hit]:
        """Add `text`; the matches that became certain."""
        self._tail.text += text
        return await self._advance(final=False)

    async def close(self) -> list[Hit]:
        """Nothing more will come: everything is safe."""
        if self.closed:
            return []
        self.closed = True
        return await self._advance(final=True)

    async def _advance(self, *, final: bool) -> list[Hit]:
        fresh: list[Hit] = []
        for lane in list(self._lanes):
            try:
                matches = await lane.advance(self._run, self._tail, final)
            except (GuardFailed, Overloaded) as error:
                self._run.fail(lane.guard, error)
                self._lanes = [other for other in self._lanes if other.guard is not lane.guard]
                continue
            fresh += [Hit(lane.guard.name, match) for match in matches]
        self._tail.rest()
        if fresh:
            closing = {h.match.start for h in fresh if h.match.end != ENDLESS}
            self._matches = [
                h
                for h in (*self._matches, *fresh)
                if not (h.match.end == ENDLESS and h.match.start in closing)
            ]
            self._ranges = merge(hit.match for hit in self._matches)
        self._settle()
        return [hit for hit in fresh if hit.match.end != ENDLESS]

    def _settle(self) -> None:
        safe = min((lane.known for lane in self._lanes), default=self._tail.end)
        for found in self._ranges:
            if found.start < safe < found.end != ENDLESS:
                safe = found.start
        self.safe = max(self.safe, safe)
        if self._tail.end - self.safe > MOST_HELD:
            raise Uninspectable("A text has too many invisible characters to be inspected while it arrives.")

    def forget(self, position: int) -> None:
        """The caller has delivered everything before `position`."""
        needed = min((lane.needs for lane in self._lanes), default=position)
        self._tail.drop(min(needed, position))
        # A range that is delivered whole can no longer overlap a new match.
        self._matches = [h for h in self._matches if h.match.end > position or h.match.end > self.safe]
        self._ranges = [r for r in self._ranges if r.end > position or r.end > self.safe]

    def render(self, start: int, end: int, placeholder: str) -> str:
        """The text [start, end) as it may be delivered; a placeholder stands where its range begins."""
        pieces: list[str] = []
        done = start
        for found in self._ranges:
            if found.end <= start or found.start >= end:
                continue
            if found.start >= start:
                pieces.append(self._tail.piece(done, found.start))
                pieces.append(placeholder.replace("{category}", found.category))
            done = min(found.end, end)
        pieces.append(self._tail.piece(done, end))
        return "".join(pieces)

    def touched(self, start: int, end: int) -> bool:
        """Whether any of [start, end) is replaced."""
        return any(found.start < end and found.end > start for found in self._ranges)
