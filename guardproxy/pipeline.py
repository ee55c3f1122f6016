"""One exchange, top to bottom. The only caller of the hooks; the order of things is written down here."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

from guardproxy import checks, facts, inputs, policy, report
from guardproxy.auth import Credentials, check_model
from guardproxy.delivery import (
    Delivery,
    aside,
    content_type,
    drain_over,
    is_stream,
    learn,
    response_head,
)
from guardproxy.document import LARGE
from guardproxy.encodings import is_like_utf8
from guardproxy.errors import (
    GuardProxyError,
    NotImplementedYet,
    ShuttingDown,
    UpstreamError,
    UpstreamTimeout,
    Violation,
)
from guardproxy.exchange import Exchange, clock, moment
from guardproxy.headers import date, lower_headers, request_headers
from guardproxy.hooks import Hooks
from guardproxy.lifecycle import BROKE_OFF, Arrival, Lifecycle, fail
from guardproxy.memory import Past, PolicyMemory
from guardproxy.messages import (
    Expected,
    Incoming,
    LocalAnswer,
    Reply,
    asks_for_stream,
    check_charset,
    check_query,
    check_redirect,
    report_form,
    reporter_of,
)
from guardproxy.profiles import Profile
from guardproxy.report import Reporter
from guardproxy.routes import Route
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.shapes import GRAMMAR
from guardproxy.stage import CANCELLED, StageRun
from guardproxy.streaming import GuardedStream
from guardproxy.types import Guard, Policy, Stage, Step, StepKind
from guardproxy.upstream import Answer, Upstream
from guardproxy.upstreams import Upstreams

_PARTIAL = {b"range", b"if-range"}  # a text could come piece by piece, and no guard would see all of it
_ENCODED = {b"content-encoding"}
_GIVEN_UP = ("client_disconnected", ShuttingDown.code)  # then nobody waits for guards in shadow


class Pipeline:
    """The parts that every exchange goes through."""

    def __init__(
        self,
        settings: Settings,
        guards: Mapping[str, Guard],
        scanner: Scanner,
        upstreams: Upstreams,
        hooks: Hooks,
    ) -> None:
        self._settings = settings
        self._guards = guards
        self._scanner = scanner
        self._upstreams = upstreams
        self._hooks = hooks
        self._credentials = Credentials(settings)
        self._lifecycle = Lifecycle(self._credentials, hooks, settings.max_body)
        self._delivery = Delivery(settings)
        self._memory = PolicyMemory()

    async def pass_on(self, incoming: Incoming, reply: Reply) -> None:
        """A request that is no exchange, such as a list of models: forwarded as it is, with a credential."""
        exchange = Exchange(incoming.method, incoming.path, lower_headers(incoming.headers))
        try:
            self._credentials.identify(exchange.headers)
            upstream = self._upstreams.of_response(None)
            headers = self._request_headers(upstream, incoming, {})
            answer = await upstream.send(incoming.method, incoming.target, incoming.query, headers, None)
            try:
                await self._delivery.raw(exchange, answer, reply)
            finally:
                await answer.aclose()
        except GuardProxyError as error:
            await fail(exchange, error, reply)
        except asyncio.CancelledError:
            if reply.gone:
                raise
            await fail(exchange, drain_over(), reply)

    async def run(self, incoming: Incoming, profile: Profile, route: Route, reply: Reply) -> None:
        """Serve one exchange."""
        incoming.shown, incoming.creates = profile.target + route.tail, route.creates
        await self._lifecycle.live(
            incoming,
            reply,
            lambda exchange, step, arrival: self._exchange(
                exchange, step, incoming, arrival, profile, route, reply
            ),
        )

    async def check(self, incoming: Incoming, reply: Reply) -> None:
        """Serve one check (checks.py): the guards look, and the upstream is never called."""
        await self._lifecycle.live(
            incoming, reply, lambda exchange, step, arrival: self._check(exchange, step, arrival, reply)
        )

    async def _exchange(
        self,
        exchange: Exchange,
        step: Step,
        incoming: Incoming,
        arrival: Arrival,
        profile: Profile,
        route: Route,
        reply: Reply,
    ) -> None:
        past = Past(self._memory, route, incoming.response_id)
        exchange.policy = policy.resolve(
            self._settings.floor,
            arrival.key,
            exchange.headers,
            self._hooks.resolve_policy,
            self._guards,
            past.policy(),
        ).policy
        reporter = reporter_of(exchange, profile, route)
        self._check_query(exchange, incoming, route)

        upstream, forwarded = await self._input(exchange, step, route, incoming, arrival, past)
        exchange.request = forwarded.body
        watching = self._watch_input(exchange, step, route, arrival)
        try:
            try:
                await self._answer(exchange, step, incoming, past, reporter, upstream, forwarded, reply)
            except GuardProxyError as error:
                # Before the shadows of the input are done: they run to their end, and nobody waits for them.
                await fail(exchange, error, reply)
            if watching is not None and not exchange.severed:
                await watching
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait((watching,))  # its steps end within the exchange

    async def _check(self, exchange: Exchange, step: Step, arrival: Arrival, reply: Reply) -> None:
        report_form(exchange.headers)  # there is one form here, but no wrong word passes
        check_charset(exchange.headers)
        body = arrival.plain()
        large = len(body) > LARGE
        given = body, self._guards
        asked = await asyncio.to_thread(checks.read, *given) if large else checks.read(*given)
        resolved = policy.resolve(
            self._settings.floor,
            arrival.key,
            exchange.headers,
            self._hooks.resolve_policy,
            self._guards,
            asked.policy,
        )
        exchange.policy = checks.policy_at(asked.stage, resolved.policy, self._guards)
        async with self._stage(exchange, asked.stage, step) as run:
            judged = await checks.judge(run, exchange, asked, _label(exchange), self._settings.unscannable)
        told = exchange, asked.stage, judged
        answer = await asyncio.to_thread(checks.answer, *told) if large else checks.answer(*told)
        ours = {"content-type": "application/json", "content-length": str(len(answer)), "date": date()}
        exchange.status = 200
        await reply.start(exchange.status, response_head(exchange, [], (), ours))
        await reply.end(answer)

    def _check_query(self, exchange: Exchange, incoming: Incoming, route: Route) -> None:
        if exchange.policy.enforced():
            check_query(incoming.query)
            check_charset(exchange.headers)
        if route.streams and asks_for_stream(incoming.query):
            if exchange.policy.holds(Stage.OUTPUT):
                raise NotImplementedYet(
                    "The events of a stored response cannot be inspected yet; leave out 'stream' and "
                    "'starting_after', or the guards of the output that block or redact.",
                    param="stream",
                )
            exchange.stream = True

    def _watch_input(
        self, exchange: Exchange, step: Step, route: Route, arrival: Arrival
    ) -> "asyncio.Task[None] | None":
        """Guards that only run in shadow look at the input while it is on its way."""
        if not exchange.policy.input or exchange.policy.enforced(Stage.INPUT):
            return None

        name, exchange.name = exchange.name, None

        async def watch() -> None:
            async with self._stage(exchange, Stage.INPUT, step) as run:
                with aside(exchange, run):
                    exchange.name = await inputs.clean_label(run, "X-Opper-Name", name)
                    await inputs.inspect(run, arrival.plain(), {}, needed=route.body)

        return asyncio.create_task(watch())

    async def _answer(
        self,
        exchange: Exchange,
        step: Step,
        incoming: Incoming,
        past: Past,
        reporter: Reporter,
        upstream: Upstream,
        forwarded: inputs.Forwarded,
        reply: Reply,
    ) -> None:
        expected = Expected(past.route.answer, forwarded.echoes, lambda made: past.learned(exchange, made))
        local = await self._hooks.before_forward(exchange)
        if local is not None:
            await self._output(exchange, step, LocalAnswer(local), expected, reporter, reply)
            return
        call = Step(StepKind.CALL, exchange.model or "", step)
        with self._hooks.step(exchange, call):
            attempt = Step(StepKind.ATTEMPT, incoming.method, call, url=upstream.shown(incoming.shown))
            with self._hooks.step(exchange, attempt):
                began = clock()
                answer = await self._forward(exchange, incoming, call, attempt, upstream, forwarded)
                try:
                    if exchange.policy.enforced():
                        check_redirect(answer.status, answer.headers)
                    await self._output(exchange, step, answer, expected, reporter, reply)
                except (UpstreamError, UpstreamTimeout) as error:
                    _broke(error, call, attempt)
                    raise
                finally:
                    if exchange.error_code in BROKE_OFF and not exchange.response_failed:
                        # A stream has told of it.
                        call.error_type = attempt.error_type = exchange.error_code
                    attempt.failure = attempt.failure or exchange.upstream_failure
                    await answer.aclose()
                    if answer.first is not None:
                        exchange.first_chunk_seconds = answer.first - began
                    call.ended = attempt.ended = moment(exchange.upstream_watch.last)

    async def _input(
        self,
        exchange: Exchange,
        step: Step,
        route: Route,
        incoming: Incoming,
        arrival: Arrival,
        past: Past,
    ) -> tuple[Upstream, inputs.Forwarded]:
        """The upstream that serves the exchange, and what it is sent."""
        guarded, several = exchange.policy.enforced(), self._upstreams.several
        try:
            plain = arrival.plain()
        except GuardProxyError:
            if guarded or several:
                raise
            plain = arrival.body  # nobody has to be able to read it
        if not guarded:
            exchange.name = _label(exchange)
            facts.of_request(exchange, plain)

        def asks() -> str | None:
            if plain or not guarded:
                check_model(arrival.key, plain, self._upstreams.same)
            return inputs.model_of(plain) if several else None

        asked, model = None, None
        if route.body:  # elsewhere there is no model
            reads = several or arrival.key is not None
            asked = await asyncio.to_thread(asks) if reads and len(plain) > LARGE else asks()
            upstream, model = self._upstreams.of_model(asked)
        else:
            upstream = self._upstreams.of_response(past.upstream())
        if several:
            exchange.upstream = upstream.name
        forwarded = await self._inspected(exchange, step, route, incoming, arrival.body, plain)
        if asked is not None and model is not None and model != asked:
            exchange.model = model if exchange.model == asked else exchange.model
            now = forwarded.body if forwarded.changed else plain
            given = forwarded, now, asked, model
            large = len(now) > LARGE
            forwarded = await asyncio.to_thread(inputs.renamed, *given) if large else inputs.renamed(*given)
        return upstream, forwarded

    async def _inspected(
        self,
        exchange: Exchange,
        step: Step,
        route: Route,
        incoming: Incoming,
        body: bytes,
        plain: bytes,
    ) -> inputs.Forwarded:
        if not exchange.policy.enforced():
            stripped = inputs.stripped(plain)
            changed = stripped is not plain
            return inputs.Forwarded(stripped if changed else body, {}, changed)

        def check(document: Mapping[str, Any]) -> None:
            _check_background(exchange.policy, document)

        def observe(document: Mapping[str, Any]) -> None:
            facts.of_document(exchange, document)

        label = _label(exchange)
        if not exchange.policy.enforced(Stage.INPUT):
            exchange.name = label
            forwarded = await inputs.inspect(None, plain, {}, check, observe, needed=route.body)
        else:
            async with self._stage(exchange, Stage.INPUT, step) as run:
                exchange.name = await inputs.clean_label(run, "X-Opper-Name", label)
                await inputs.inspect_query(run, incoming.query)
                forwarded = await inputs.inspect(
                    run, plain, self._settings.unscannable, check, observe, needed=route.body
                )
                if run.blocked:
                    exchange.verdicts[Stage.INPUT] = run.verdict()
                    raise report.violation(exchange, Stage.INPUT)
        return forwarded if forwarded.changed else forwarded._replace(body=body)

    async def _forward(
        self,
        exchange: Exchange,
        incoming: Incoming,
        call: Step,
        attempt: Step,
        upstream: Upstream,
        forwarded: inputs.Forwarded,
    ) -> Answer:
        extra = dict(attempt.request_headers)
        if exchange.policy.enforced():
            extra["accept-encoding"] = "identity"
        gone = (_PARTIAL if exchange.policy.enforced() else set()) | (
            _ENCODED if forwarded.changed else set()
        )
        headers = [p for p in self._request_headers(upstream, incoming, extra) if p[0] not in gone]
        try:
            # A GET that came without a body must not leave with a Content-Length.
            body = forwarded.body if forwarded.body or incoming.method == "POST" else None
            answer = await upstream.send(
                incoming.method, incoming.target, incoming.query, headers, body, exchange.upstream_watch
            )
        except GuardProxyError as error:
            _broke(error, call, attempt)
            raise
        call.status = attempt.status = exchange.upstream_status = answer.status
        return answer

    def _request_headers(
        self, upstream: Upstream, incoming: Incoming, extra: Mapping[str, str]
    ) -> list[tuple[bytes, bytes]]:
        return request_headers(
            incoming.headers,
            replace_authorization=self._credentials.authorization(upstream.api_key),
            extra={**upstream.headers, **extra},
        )

    async def _output(
        self,
        exchange: Exchange,
        step: Step,
        answer: "Answer | LocalAnswer",
        expected: Expected,
        reporter: Reporter,
        reply: Reply,
    ) -> None:
        exchange.status = answer.status
        if not exchange.policy.enforced() and not exchange.policy.output:
            await self._delivery.raw(exchange, answer, reply)
            expected.learned(exchange.response_id)  # where it is, in case somebody asks for it again
            return
        async with self._stage(exchange, Stage.OUTPUT, step) as run:
            stream = None
            types = content_type(answer)
            if is_stream(types) and is_like_utf8(types.lower()):

                def observe(response: Mapping[str, Any]) -> None:
                    learn(exchange, expected, response, response.get("id"))

                stream = GuardedStream(run, reporter, expected.echoes, self._settings.unscannable, observe)
            if not exchange.policy.enforced():
                await self._delivery.watched(exchange, answer, run, stream, expected, reporter, reply)
            elif stream is not None:
                await self._delivery.stream(exchange, answer, run, stream, reply)
            else:
                await self._delivery.whole(exchange, answer, run, expected, reporter, reply)

    @asynccontextmanager
    async def _stage(self, exchange: Exchange, stage: Stage, parent: Step) -> AsyncIterator[StageRun]:
        """The guards of one stage at work; their verdict is made and told when it is left."""
        rules = exchange.policy.stage(stage)
        run = StageRun(
            stage,
            rules,
            self._scanner,
            self._settings.placeholder,
            (lambda step: self._hooks.step(exchange, step)) if rules else _unseen,
            parent,
            self._settings.unscannable.get("too_large"),
        )
        run.captures = bool(rules) and self._settings.capture_content == "redacted"
        problem: str | None = CANCELLED
        try:
            yield run
            problem = None
        except GuardProxyError as error:
            problem = error.error_code
            raise
        except Exception:
            problem = "internal_error"
            raise
        finally:
            if run.passed and problem is not None:  # it stopped no guards but those in shadow
                run.give_up(problem)
                problem = None
            run.let_pass()

            async def end(at_once: bool) -> None:
                if at_once or exchange.severed or exchange.error_code in _GIVEN_UP:
                    run.cancel()
                try:
                    with aside(exchange, run):
                        await run.settle()
                finally:
                    verdict = run.finish(problem)
                    if problem in (None, Violation.code) and (content := run.content()) is not None:
                        exchange.content[stage] = content
                    for guard in run.guards:
                        exchange.guard_seconds[f"{stage}.{guard.name}"] = guard.step.seconds
                        if guard.step.failure is not None:
                            exchange.guard_failures[f"{stage}.{guard.name}"] = guard.step.failure
                    if rules:
                        exchange.verdicts[stage] = verdict
                        await self._hooks.verdict(exchange, verdict)

            if run.watching:  # guards in shadow hold up nothing: the stage ends when they are done
                exchange.verdicts[stage] = run.verdict(problem)
                exchange.deferred.append(end)
            else:
                await end(False)


def _broke(error: GuardProxyError, call: Step, attempt: Step) -> None:
    """Note on the steps of a call what it failed of."""
    call.error_type = attempt.error_type = error.error_code
    if isinstance(error, UpstreamError):
        attempt.failure = error.failure


def _check_background(whole: Policy, document: Mapping[str, Any]) -> None:
    # Whatever an upstream may take for true.
    if document.get("background") not in (None, False) and whole.holds():
        raise NotImplementedYet(
            "A response in the background cannot be inspected yet; leave out 'background', or the guards "
            "that block or redact.",
            param="background",
        )


def _unseen(_: Step) -> AbstractContextManager[object]:
    """A stage without guards is no step of the exchange."""
    return nullcontext()


def _label(exchange: Exchange) -> str | None:
    """What the client calls the exchange."""
    name = exchange.headers.get("x-opper-name", "")
    return name if GRAMMAR.fullmatch(name) else None
