"""The texts of a stream that arrive in deltas: held, inspected, and what may be delivered of them."""

import abc
import asyncio
from collections.abc import Callable, Iterable, Sequence

from guardproxy.document import Edits, walk
from guardproxy.errors import Uninspectable, UpstreamError
from guardproxy.findings import Hit
from guardproxy.shapes import PARSED, TEXT, Shape
from guardproxy.stage import GuardRun, StageRun
from guardproxy.types import Path, TextPart, pointer
from guardproxy.window import Window

Note = Callable[[str, Iterable[Hit]], None]


class Channel(abc.ABC):
    """One text that arrives in deltas, under the guards that hold.

    Positions count characters of the text as it arrives; [0, `safe`) may be delivered.
    """

    def __init__(self) -> None:
        self.closed = False
        self.end = 0
        self.delivered = 0
        self.waiting = 0  # its events in the queue

    async def push(self, text: str) -> None:
        """Add a delta's text."""
        if self.closed:
            raise UpstreamError("The upstream went on with a text after its end.")
        self.end += len(text)
        await self._push(text)

    async def close(self) -> None:
        """Nothing more will come: all of it becomes safe."""
        if not self.closed:
            self.closed = True
            await self._close()

    @property
    @abc.abstractmethod
    def safe(self) -> int:
        """How much of the text may be delivered."""

    @abc.abstractmethod
    def take(self, start: int, end: int) -> str | None:
        """The text to deliver for the delta [start, end); None when it is the delta as it came."""

    @abc.abstractmethod
    async def _push(self, text: str) -> None: ...

    @abc.abstractmethod
    async def _close(self) -> None: ...


class FlowingText(Channel):
    """A text that is delivered as it becomes safe."""

    def __init__(self, run: StageRun, guards: Sequence[GuardRun], path: Path) -> None:
        super().__init__()
        self._run = run
        self._path = pointer(path)
        self._window = Window(run, guards)

    @property
    def safe(self) -> int:
        """What the window has decided."""
        return self.end if self.closed else self._window.safe

    async def _push(self, text: str) -> None:
        self._run.found.note(self._path, await self._window.push(text))

    async def _close(self) -> None:
        self._run.found.note(self._path, await self._window.close())

    def take(self, start: int, end: int) -> str | None:
        """The delta's text with placeholders; what an earlier event left behind comes with it."""
        first, last = self.delivered, min(end, self.safe)
        self.delivered = last
        if first == start and last == end and not self._window.touched(start, end):
            text = None
        else:
            text = self._window.render(first, last, self._run.placeholder)
        self._window.forget(last)
        return text


class WholeText(Channel):
    """Tool arguments: a client acts on them, so nothing leaves before all of it is inspected."""

    def __init__(self, run: StageRun, guards: Sequence[GuardRun], path: Path) -> None:
        super().__init__()
        self._run = run
        self._guards = guards
        self._path = path
        self._pieces: list[str] = []
        self._new: str | None = None

    @property
    def safe(self) -> int:
        """All or nothing."""
        return self.end if self.closed else 0

    async def _push(self, text: str) -> None:
        self._pieces.append(text)

    async def _close(self) -> None:
        whole = "".join(self._pieces)
        self._pieces.clear()
        edits = await inspect_whole(self._run, self._guards, whole, self._path)
        if edits:
            self._new = _rewritten(whole, edits)

    def take(self, start: int, end: int) -> str | None:
        """The first delta carries the whole new text, the others nothing; None when nothing changed."""
        new = self._new
        if new:
            self._new = ""  # several deltas begin at 0 when the first is empty
        return new


async def inspect_whole(run: StageRun, guards: Sequence[GuardRun], whole: str, path: Path) -> Edits:
    """Inspect tool arguments (JSON, or a text where they are none); the edits of `{"text": whole}`."""
    shape = Shape({"text": PARSED if path[-1] == "arguments" else TEXT})
    parts: list[TextPart] = walk({"text": whole}, shape).parts
    hits = await run.hits(parts, guards)
    return run.apply(parts, hits, lambda inner: (*path, *inner[1:]), {"text": whole})


def _rewritten(whole: str, edits: Edits) -> str:
    """`whole` with the edits of `inspect_whole`."""
    path = next(iter(edits.texts))[:1]
    return edits.text(path, whole)


class Watched:
    """A text that flows on while guards look at it: flag and shadow hold nothing back."""

    def __init__(self, run: StageRun, guards: Sequence[GuardRun], path: Path, *, whole: bool) -> None:
        self._run = run
        self._guards = guards
        self._path = path
        self._whole = whole
        self._window = Window(run, guards)
        self._pieces: list[str] = []
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    def push(self, text: str) -> None:
        """Add a delta's text."""
        self._pieces.append(text)
        if not self._whole and (self._task is None or self._task.done()):
            self._reraise()
            self._task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        while self._pieces:
            text = "".join(self._pieces)
            self._pieces.clear()
            if self._lost:
                continue
            try:
                self._run.found.note(pointer(self._path), await self._window.push(text))
            except Uninspectable:
                self._lose()
            self._window.forget(self._window.end)

    def _lose(self) -> None:
        """It cannot be inspected; what nobody holds back passes all the same, and the receipt tells."""
        self._lost = True
        self._run.count((), {"too_large": 1})

    def _reraise(self) -> None:
        # A task knows its error, that knows this frame and `_drain`'s, and they know of this.
        task, self._task = self._task, None
        error = None if task is None else task.exception()
        try:
            if error is not None:
                raise error
        finally:
            del task, error

    async def close(self) -> None:
        """Wait until all of the text is inspected.

        Raises:
            GuardFailed, Overloaded: a guard failed.
        """
        if self._task is not None:
            try:
                await self._task
            finally:
                self._task = None
        if self._whole:
            try:
                await inspect_whole(self._run, self._guards, "".join(self._pieces), self._path)
            except Uninspectable:
                self._lose()
            return
        await self._drain()
        if not self._lost:
            self._run.found.note(pointer(self._path), await self._window.close())

    def cancel(self) -> None:
        """The exchange is over: what is not inspected yet will not be."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
