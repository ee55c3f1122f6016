"""The guarded stream: the upstream's events in, the client's events out.

Each event is parsed by its JSON `type`. Texts that arrive in deltas go through channels, all other
texts are inspected where they stand. Events wait in one queue, in order, each until its own text is
safe; an event that needs no change leaves as the bytes that it came as.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Container, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardproxy import document
from guardproxy.agreement import follow, move_annotation
from guardproxy.capture import Captured
from guardproxy.channels import Channel, FlowingText, Watched, WholeText
from guardproxy.document import Edits, Walked, dumps, member
from guardproxy.endings import Ending
from guardproxy.errors import GuardProxyError, Uninspectable, UpstreamError
from guardproxy.exchange import clock
from guardproxy.places import Places
from guardproxy.report import Reporter
from guardproxy.shapes import EVENT, TERMINAL
from guardproxy.sse import DONE, Frame
from guardproxy.stage import GuardRun, StageRun
from guardproxy.types import Path, PathMark, Stage, TextPart
from guardproxy.waiting import Event, Waiting, kind_of, leaves_of

MOST_QUEUED = 8 * 1024 * 1024  # bytes of events that wait
MOST_REMEMBERED = 4096


@dataclass(slots=True)
class _Flow:
    """One text that arrives in deltas: where it is held, and who watches it go by."""

    held: Channel | None
    flagging: Watched | None
    shadowing: Watched | None

    @property
    def watched(self) -> Iterable[Watched]:
        return (watched for watched in (self.flagging, self.shadowing) if watched is not None)


def ended_early() -> UpstreamError:
    """The error of a stream that ended before its response did."""
    message = "The upstream ended its stream before the response was complete."
    return UpstreamError(message, failure="broke_off")


class GuardedStream:
    """A stream under the guards of `run`; `echoes` are the texts that were forwarded, by their path."""

    def __init__(
        self,
        run: StageRun,
        reporter: Reporter,
        echoes: Mapping[Path, str],
        unscannable: Mapping[str, str],
        observe: Callable[[dict[str, Any]], None],
    ) -> None:
        self._run = run
        self._reporter = reporter
        self._echoes = echoes
        self._unscannable = unscannable
        self._observe = observe
        self._holding = [guard for guard in run.guards if guard.holds]
        self._flagging = [guard for guard in run.guards if not guard.holds and not guard.rule.shadow]
        self._shadowing = [guard for guard in run.guards if guard.rule.shadow]
        self._places = Places(reporter.reserved)
        self._ending = Ending(reporter)
        self._flows: dict[tuple[Path, Path], _Flow] = {}
        self._queue: deque[Waiting] = deque()
        self._queued = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._shadow_tasks: set[asyncio.Task[None]] = set()
        self._clean: set[str] = set()  # ids and names that need no second look
        self._counted: set[Path] = set()
        self._finished = False  # the upstream's [DONE] or terminal event came
        self._done = False
        self._erred = False
        self.terminal_added = False  # the upstream sent no terminal event, so that there is one of ours
        self.released = 0  # the upstream's events that may leave
        self.held: float | None = None  # the most seconds between an event's arrival and its release

    async def feed(self, frame: Frame) -> list[bytes]:
        """What may leave, now that `frame` came.

        Raises:
            GuardProxyError: a guard failed, or the event cannot be inspected.
        """
        if self._done or self._finished:
            self._done |= frame.done
            return []
        if frame.done:
            self._done = True
            return []
        arrived = clock()
        if not frame.data:
            return [b":\n\n"]  # a comment keeps the connection alive; its text is nobody's
        event = await self._inspect(frame)
        if event is None:
            self.released += 1
            return [frame.raw]
        waiting = Waiting.of(event, arrived)
        self._queue.append(waiting)
        self._queued += waiting.size
        out, number = self._release()
        if self._queued > MOST_QUEUED:
            raise Uninspectable("Too much of the stream waits for the end of one text.")
        self.released += number
        return out

    async def end(self) -> list[bytes]:
        """What is left to say when the upstream's bytes have ended.

        Raises:
            UpstreamError: they ended too early.
            GuardProxyError: a guard failed.
        """
        await self._close(lambda _: True)
        out, number = self._release()
        if not self._finished:
            await self._settle()
            if not self._done or self._erred or not self._ending.begun:
                raise ended_early()
            self._finish()
            out += self._ending.completed()
            self.terminal_added = True
        self.released += number
        return [*out, DONE.raw]

    def fail(self, error: GuardProxyError, *, unkept: bool = False) -> list[bytes]:
        """The end of a stream that has begun: an error event, `response.failed` and `[DONE]`.

        `unkept`: its own end has come, and was not sent.
        """
        self.cancel()
        self._queue.clear()
        if self._run.passed:
            self._run.give_up(error.error_code)
        else:
            self._run.problem = error.error_code
        # The end that could not be kept is not sent.
        finished, self._finished = self._finished and not unkept, True
        return [*([] if finished else self._ending.failed(error)), DONE.raw]

    def response(self) -> str | None:
        """The JSON of the response with which the stream ended, as it is delivered; once only."""
        last, self._ending.last = self._ending.last, None
        return member(last.decode(), ("response",)) if last is not None else None

    async def settle_shadow(self) -> None:
        """Wait for the guards that run in shadow; traffic never does. Raises what one of them raised."""
        outcomes = await asyncio.gather(*self._shadow_tasks, return_exceptions=True)
        error = next((found for found in outcomes if isinstance(found, Exception)), None)
        self._shadow_tasks.clear()
        outcomes.clear()
        try:
            if error is not None:
                raise error
        finally:
            del error  # it knows this frame, and neither would go without the other

    def cancel(self) -> None:
        """Stop all inspection: the exchange is over."""
        self._run.cut = not self._run.passed
        for task in (*self._tasks, *self._shadow_tasks):
            task.cancel()
        self._tasks.clear()  # one that failed knows its error, and that the frames that know of this
        for flow in self._flows.values():
            for watched in flow.watched:
                watched.cancel()

    async def _inspect(self, frame: Frame) -> Event | None:
        try:
            text = document.decode(frame.data)
            value = document.parse(text)
        except Uninspectable:
            value = None
        if not isinstance(value, dict):
            self._unknown(frame)
            return None
        kind = kind_of(frame, value)
        located = self._places.locate(kind, value)
        event = Event(frame, text, kind, value, located)
        self._erred |= kind == "error"
        self._reporter.exchange.response_failed |= kind in ("error", "response.failed")
        seen = not self._run.guards or await self._guard(event)
        if isinstance(response := value.get("response"), dict):
            if seen:
                self._observe({k: v for k, v in response.items() if ("response", k) not in event.edits.texts})
            if (completer := self._reporter.completer) is not None and completer.has_to_read(response):
                await asyncio.to_thread(completer.read)
        self._repair(event)
        if self._holding:
            self._unseal(event)
        if kind in TERMINAL:
            await self._settle()
            self._finish()
        await self._stop_if_blocked()
        return event

    async def _guard(self, event: Event) -> bool:
        """Have the guards look at the event; whether they could."""
        kind, value, located = event.kind, event.value, event.located
        try:
            leaves = leaves_of(kind, value)
            await self._deltas(event, leaves)
            if kind.endswith(".done"):
                await self._close(located.covers)
            elif kind in TERMINAL:
                await self._close(lambda _: True)
            walked = self._walk(event, {path for path, _ in leaves})
        except Uninspectable as error:
            self._deny(error.message)
            return False
        if self._run.captures and kind in TERMINAL:
            self._run.captured = Captured(Stage.OUTPUT, event.text, walked.parts, located.path, ("response",))
        await self._texts(event, walked)
        return True

    def _unknown(self, frame: Frame) -> None:
        """An event that is no JSON object: nothing that holds text back can let it pass."""
        if self._holding:
            self._deny("It is no JSON object.")
        part = TextPart(("event",), frame.data.decode("utf-8", "replace"))
        self._watch([part], lambda path: path)

    def _deny(self, why: str) -> None:
        """An event that cannot be inspected passes only where nothing would be held back of it."""
        if self._holding:
            raise UpstreamError(f"The upstream sent an event that cannot be inspected. {why}")
        self._run.count((), {"too_large": 1})

    async def _deltas(self, event: Event, leaves: Iterable[tuple[Path, str]]) -> None:
        for path, text in leaves:
            key = (event.located.channel, path)
            flow = self._flows.get(key)
            if flow is None:
                flow = self._flows[key] = self._flow(event, path)
            for watched in flow.watched:
                watched.push(text)
            if (channel := flow.held) is not None:
                start = channel.end
                await channel.push(text)
                channel.waiting += 1
                event.leaves += ((channel, path, start, channel.end),)

    def _flow(self, event: Event, path: Path) -> _Flow:
        place = event.located.path(path)
        whole = event.located.whole
        held: Channel | None = None
        if self._holding:
            held = (WholeText if whole else FlowingText)(self._run, self._holding, place)
        flagging, shadowing = (
            Watched(self._run, guards, place, whole=whole) if guards else None
            for guards in (self._flagging, self._shadowing)
        )
        return _Flow(held, flagging, shadowing)

    async def _close(self, ends: Callable[[Path], bool]) -> None:
        for key, flow in list(self._flows.items()):
            if not ends(key[0]):
                continue
            if flow.flagging is not None:
                self._start(flow.flagging.close(), self._tasks)
            if flow.shadowing is not None:
                self._start(flow.shadowing.close(), self._shadow_tasks)
            if flow.held is None:
                del self._flows[key]  # should the text go on, it is watched anew
            else:
                flow.flagging = flow.shadowing = None
                await flow.held.close()

    def _walk(self, event: Event, leaves: Container[Path]) -> Walked:
        """The event's other texts: not the deltas, which are inspected with those before them."""
        # What is to be added, an id of an earlier event, is a text as if it had come with this one.
        whole = {**event.value, **event.located.missing}
        value = {key: member for key, member in whole.items() if (key,) not in leaves}
        walked = document.walk(value, EVENT)
        return walked._replace(parts=[part for part in walked.parts if part.path not in leaves])

    async def _texts(self, event: Event, walked: Walked) -> None:
        place = event.located.path
        for reason, number in walked.skipped.items():
            self._run.skipped[reason] = max(number, self._run.skipped.get(reason, 0))
        self._run.unscannable(walked.skipped, self._unscannable)
        await self._hide(walked.parts, place)
        parts = [part for part in walked.parts if not self._known(part, place(part.path))]
        if not parts:
            return
        whole = {**event.value, **event.located.missing}
        if self._holding:
            hits = await self._run.hits(parts, self._holding)
            event.edits = self._run.apply(parts, hits, place, whole)
            dropped = follow(
                whole, event.edits, lambda p: self._run.found.ranges_at(place(p)), self._run.placeholder
            )
            if dropped:
                self._run.count((), {"encrypted_dropped": dropped})
            clean = [part for part, of_part in zip(parts, hits, strict=True) if not of_part]
        else:
            clean = parts
        self._watch(parts, place, whole)
        if len(self._clean) < MOST_REMEMBERED:
            # Not keys: where a guard that only flags finds something in one, its path must not show it.
            self._clean.update(p.text for p in clean if p.structural and p.path[-1] is not PathMark.KEY)

    async def _hide(self, parts: Iterable[TextPart], place: Callable[[Path], Path]) -> None:
        """Look at echoed keys too: they are not judged, but paths go through them."""
        keys = [p for p in parts if p.path[-1:] == (PathMark.KEY,) and self._echoed(p)]
        if not keys:
            return

        async def look() -> None:
            guards = (*self._holding, *self._flagging)
            self._run.hide(keys, await self._run.hits(keys, guards), place)

        if self._holding:
            await look()
        else:
            self._start(look(), self._tasks)

    def _known(self, part: TextPart, place: Path) -> bool:
        if part.structural:
            # A name in the response may be told, by what was found in that very place.
            told = part.path[0] == "response"
            return (part.text in self._clean and not told) or self._echoed(part)
        if place not in self._counted:
            self._counted.add(place)
            self._run.count([part], {})
        return self._echoed(part)

    def _echoed(self, part: TextPart) -> bool:
        """Whether the response repeats it; what an event says beside the response is no echo."""
        head, *rest = part.path
        return head == "response" and self._echoes.get(tuple(rest)) == part.text

    def _watch(self, parts: list[TextPart], place: Callable[[Path], Path], document: Any = None) -> None:
        for guards, tasks in ((self._flagging, self._tasks), (self._shadowing, self._shadow_tasks)):
            if guards:
                self._start(self._look(parts, guards, place, document), tasks)

    async def _look(
        self,
        parts: list[TextPart],
        guards: Sequence[GuardRun],
        place: Callable[[Path], Path],
        document: Any,
    ) -> None:
        self._run.apply(parts, await self._run.hits(parts, guards), place, document)

    def _start(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)

        def forget(done: asyncio.Task[None]) -> None:
            # A failed task stays: `_settle` raises its error.
            if done.cancelled() or done.exception() is None:
                tasks.discard(done)

        task.add_done_callback(forget)

    async def _settle(self) -> None:
        """Wait for the guards that only flag: the report needs what they found."""
        await asyncio.gather(*self._tasks)
        self._judge()
        if self._run.blocked:
            raise self._reporter.violation()

    def _finish(self) -> None:
        """Nothing is left that the client's stream waits for."""
        self._finished = True
        self._run.let_pass()

    async def _stop_if_blocked(self) -> None:
        if self._run.blocked:
            await asyncio.gather(*self._tasks, return_exceptions=True)  # they say which keys hide
            self._judge()
            raise self._reporter.violation()

    def _judge(self) -> None:
        if self._run.rules:
            self._reporter.exchange.verdicts[self._run.stage] = self._run.verdict()

    def _repair(self, event: Event) -> None:
        """Give the event what its dialect leaves out."""
        edits, located = event.edits, event.located
        for key, new in located.missing.items():
            number = new + located.reserved if key == "output_index" and isinstance(new, int) else new
            edits.put((), key, dumps(edits.texts.pop((key,), number)), key in event.value)
        if located.reserved and located.item is not None and "output_index" not in located.missing:
            edits.raw[("output_index",)] = str(located.item + located.reserved)
        response = event.value.get("response")
        if isinstance(response, dict) and event.kind not in TERMINAL and response.get("output") is None:
            edits.put(("response",), "output", "[]", "output" in response)

    def _unseal(self, event: Event) -> None:
        """Take sealed copies away whose text is yet to come, or was redacted where another event had it."""
        response = event.value.get("response")
        output = response.get("output") if isinstance(response, dict) else None
        items: list[tuple[Path, Any]] = [(("item",), event.value.get("item"))]
        if isinstance(output, list):
            items += [(("response", "output", index), item) for index, item in enumerate(output)]
        for path, item in items:
            sealed = (*path, "encrypted_content")
            if (
                not isinstance(item, dict)
                or item.get("encrypted_content") is None
                or sealed in event.edits.raw
            ):
                continue
            if event.kind == "response.output_item.added":  # the item's `.done` has it
                event.edits.raw[sealed] = "null"
            elif self._run.found.redacts_below(event.located.path(path)):
                event.edits.raw[sealed] = "null"
                self._run.count((), {"encrypted_dropped": 1})

    def _release(self) -> tuple[list[bytes], int]:
        """What may leave of the queue, and how many of the upstream's events that is."""
        out: list[bytes] = []
        number = 0
        while self._queue and self._queue[0].safe:
            waiting = self._queue.popleft()
            self._queued -= waiting.size
            self.held = max(self.held or 0.0, clock() - waiting.arrived)
            out += self._deliver(waiting)
            number += 1
        return out, number

    def _deliver(self, waiting: Waiting) -> list[bytes]:
        edits = waiting.edits or Edits()
        for channel, path, start, end in waiting.leaves:
            channel.waiting -= 1
            if (new := channel.take(start, end)) is not None:
                edits.texts[path] = new
                if waiting.logprobs:
                    edits.raw[("logprobs",)] = "[]"
        before: list[bytes] = []
        if (event := waiting.whole) is not None:
            if event.kind == "response.output_text.annotation.added":
                ranges = self._run.found.ranges_at(event.located.path(("text",)))
                annotation = event.value.get("annotation")
                move_annotation(annotation, ("annotation",), edits, ranges, self._run.placeholder)
            elif event.kind in TERMINAL:
                before = self._ending.reported(event.kind, event.value, edits)
        self._ending.number(waiting.sequence, waiting.numbered, edits)
        # Of one without a type nobody knows whether it has a response, or is one.
        finishes = event is not None and bool(event.kind) and self._reporter.finishes
        data, raw = waiting.render(edits, self._reporter.finished if finishes else None)
        self._ending.saw(waiting.kind, data, event.located.item if event else None)
        return [*before, raw]
