"""The hold-back window: one text as it arrives, and how much of it is safe to deliver.

For every chunking, the delivered pieces joined are the redacted whole, and no character of a match
has left before. The window is built from the pieces that whole texts are inspected in: a local
detector knows all matches that start `reach` characters before the end of what arrived, a
blockwise one those that its finished blocks own. What lies before the least of these positions,
and not inside of a range that reaches beyond it, is final.
"""

from collections.abc import Iterable

from guardproxy.errors import GuardFailed, Overloaded, Uninspectable
from guardproxy.findings import Hit
from guardproxy.inspection import reach_of
from guardproxy.lanes import ENDLESS, BlockLane, LocalLane, Tail
from guardproxy.redaction import Placeholder, Range, merge
from guardproxy.stage import GuardRun, StageRun

MOST_HELD = 64 * 1024  # characters that are held at all; only a flood of invisible ones gets there
PIECE = 64 * 1024  # characters that are looked at a time: long matches in one text are followed one by one


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
        self._lanes = [
            (
                guard,
                BlockLane(run.scanner, ref, guard.meter)
                if ref.reach is None
                else LocalLane(run.scanner, ref, reach, guard.meter),
            )
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
        fresh: list[Hit] = []
        for start in range(0, len(text), PIECE):
            self._tail.text += text[start : start + PIECE]
            fresh += await self._advance(final=False)
        return fresh

    async def close(self) -> list[Hit]:
        """Nothing more will come: everything is safe."""
        if self.closed:
            return []
        self.closed = True
        return await self._advance(final=True)

    async def _advance(self, *, final: bool) -> list[Hit]:
        fresh: list[Hit] = []
        for guard, lane in list(self._lanes):
            try:
                matches = await lane.advance(self._tail, final)
            except (GuardFailed, Overloaded) as error:
                self._run.fail(guard, error)
                self._lanes = [other for other in self._lanes if other[0] is not guard]
                continue
            hits = [Hit(guard.name, match) for match in matches]
            fresh += self._run.kept(hits, self._tail.text, self._tail.start)
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
        safe = min((lane.known for _, lane in self._lanes), default=self._tail.end)
        for found in self._ranges:
            if found.start < safe < found.end != ENDLESS:
                safe = found.start
        self.safe = max(self.safe, safe)
        if self._tail.end - self.safe > MOST_HELD:
            raise Uninspectable("A text has too many invisible characters to be inspected while it arrives.")

    def forget(self, position: int) -> None:
        """The caller has delivered everything before `position`."""
        needed = min((lane.needs for _, lane in self._lanes), default=position)
        self._tail.drop(min(needed, position))
        # A range that is delivered whole can no longer overlap a new match.
        self._matches = [h for h in self._matches if h.match.end > position or h.match.end > self.safe]
        self._ranges = [r for r in self._ranges if r.end > position or r.end > self.safe]

    def render(self, start: int, end: int, placeholder: Placeholder) -> str:
        """The text [start, end) as it may be delivered; a placeholder stands where its range begins."""
        pieces: list[str] = []
        done = start
        for found in self._ranges:
            if found.end <= start or found.start >= end:
                continue
            if found.start >= start:
                pieces.append(self._tail.piece(done, found.start))
                pieces.append(placeholder.of(found.category))
            done = min(found.end, end)
        pieces.append(self._tail.piece(done, end))
        return "".join(pieces)

    def touched(self, start: int, end: int) -> bool:
        """Whether any of [start, end) is replaced."""
        return any(found.start < end and found.end > start for found in self._ranges)
