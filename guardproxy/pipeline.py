"""One exchange, top to bottom. The only caller of the hooks; the order of things is written down here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from guardproxy import checks, facts, failures, inputs, policy, report
from guardproxy.auth import Credentials, check_models
from guardproxy.calls import Calls
from guardproxy.completion import Completer
from guardproxy.delivery import (
    Delivery,
    aside,
    can_be_finished,
    content_type,
    is_stream,
    learn,
    reply_json,
)
from guardproxy.encodings import is_like_utf8
from guardproxy.errors import (
    GuardProxyError,
    NotImplementedYet,
    ShuttingDown,
    Uninspectable,
    Violation,
)
from guardproxy.exchange import Exchange
from guardproxy.headers import date
from guardproxy.hooks import Hooks
from guardproxy.inputs import Asked
from guardproxy.keeping import Keeper, Kept, Recalled
from guardproxy.lifecycle import Arrival, Lifecycle, fail
from guardproxy.memory import Past, PolicyMemory
from guardproxy.messages import (
    SESSION_HEADER,
    Expected,
    Incoming,
    LocalAnswer,
    Reply,
    asks_for_stream,
    check_charset,
    check_query,
    report_form,
    reporter_of,
    session_of,
)
from guardproxy.models import Models
from guardproxy.profiles import Keeps, Profile
from guardproxy.report import Reporter
from guardproxy.routes import Route
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.shapes import GRAMMAR
from guardproxy.stage import CANCELLED, StageRun
from guardproxy.streaming import GuardedStream
from guardproxy.threads import off_loop
from guardproxy.types import Guard, Policy, Stage, Step
from guardproxy.upstream import Answer
from guardproxy.upstreams import Chosen, Upstreams

if TYPE_CHECKING:
    from guardproxy.limits import Limits

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
        limits: "Limits | None" = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._settings = settings
        self._guards = guards
        self._scanner = scanner
        self._upstreams = upstreams
        self._hooks = hooks
        self._credentials = Credentials(settings)
        self._lifecycle = Lifecycle(self._credentials, hooks, settings.max_body, limits)
        self._calls = Calls(self._credentials, hooks)
        self._delivery = Delivery(settings)
        self._memory = PolicyMemory()
        self._keeper = keeper
        self.models = Models(settings, self._lifecycle, upstreams, self._calls, self._delivery)

    async def run(self, incoming: Incoming, profile: Profile, route: Route, reply: Reply) -> None:
        """Serve one exchange."""
        incoming.shown, incoming.creates = profile.target + route.tail, route.creates
        incoming.profile = profile
        await self._lifecycle.live(
            incoming,
            reply,
            lambda exchange, step, arrival: self._exchange(exchange, step, incoming, arrival, route, reply),
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
        route: Route,
        reply: Reply,
    ) -> None:
        keeps = incoming.profile.keeps is Keeps.RESPONSES
        past = Past(self._memory, route, incoming.response_id, arrival.tenant if keeps else None)
        made_under, recalled = past.policy(), None
        is_kept = keeps and incoming.response_id is not None and route.method != "POST"
        if is_kept and self._keeper is not None:
            recalled = await self._keeper.recall(arrival.tenant, incoming.response_id or "")
            if recalled is not None:
                made_under = made_under.join(policy.present(recalled.policy, self._guards))
        exchange.policy = policy.resolve(
            self._settings.floor,
            arrival.key,
            exchange.headers,
            self._hooks.resolve_policy,
            self._guards,
            made_under,
        ).policy
        reporter = reporter_of(exchange, incoming.profile, route, self._settings.prices)
        self._check_query(exchange, incoming, route)

        if is_kept:
            await self._inspected(exchange, step, route, incoming, arrival, None)
            await self._kept(exchange, step, route, incoming, arrival, recalled, reporter, reply)
            return
        asked, ways, kept = await self._ways(exchange, step, route, incoming, arrival, past)
        forwarded = await self._inspected(exchange, step, route, incoming, arrival, asked)

        before: dict[int, inputs.Forwarded] = {}

        async def sent(way: Chosen) -> inputs.Forwarded:
            if way.number in before:
                return before[way.number]
            made = before[way.number] = await _sent(exchange, incoming.profile, asked, way, forwarded)
            if (completion := incoming.profile.completion) is not None and route.creates:
                request = made.body if made.changed else arrival.readable()
                own, stored = report.own_id(exchange), kept is not None and kept.conversation is None
                reporter.completer = Completer(completion, request, own, made.asked, stored=stored)
            return made

        watching = self._watch_input(exchange, step, route, arrival, asked)
        try:
            try:
                await self._answer(exchange, step, incoming, past, reporter, ways, sent, kept, reply)
            except GuardProxyError as error:
                # Before the shadows of the input are done: they run to their end, and nobody waits for them.
                await fail(exchange, error, reply, incoming.profile)
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
        asked = await off_loop(len(body), checks.read, body, self._guards)
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
        answer = await off_loop(len(body), checks.answer, exchange, asked.stage, judged)
        await reply_json(exchange, reply, 200, answer)

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
        self, exchange: Exchange, step: Step, route: Route, arrival: Arrival, asked: Asked | None
    ) -> "asyncio.Task[None] | None":
        """Guards that only run in shadow look at the input while it is on its way."""
        if not exchange.policy.input or exchange.policy.enforced(Stage.INPUT):
            return None

        name, exchange.name = exchange.name, None
        session, exchange.session_id = exchange.session_id, None

        async def watch() -> None:
            async with self._stage(exchange, Stage.INPUT, step) as run:
                with aside(exchange, run):
                    exchange.name = await inputs.clean_label(run, "X-Opper-Name", name)
                    exchange.session_id = await inputs.clean_label(run, SESSION_HEADER, session)
                    if asked is not None or arrival.plain() or route.body:
                        read = asked or await inputs.read(arrival.plain())
                        await inputs.inspect(run, read, {}, echoed=route.body)

        return asyncio.create_task(watch())

    async def _answer(
        self,
        exchange: Exchange,
        step: Step,
        incoming: Incoming,
        past: Past,
        reporter: Reporter,
        ways: Sequence[Chosen],
        sent: Callable[[Chosen], Awaitable[inputs.Forwarded]],
        kept: Kept | None,
        reply: Reply,
    ) -> None:
        def expected(forwarded: inputs.Forwarded) -> Expected:
            return Expected(
                past.route.answer,
                forwarded.echoes,
                lambda made: past.learned(exchange, made),
                partial(kept.keep, forwarded.body) if kept else None,
                partial(failures.told, incoming.profile) if incoming.profile.own_errors else None,
            )

        first = await sent(ways[0])
        exchange.request = first.body
        local = await self._hooks.before_forward(exchange)
        if local is not None:
            await self._output(exchange, step, LocalAnswer.of(local), expected(first), reporter, reply)
            return
        reads = exchange.policy.enforced() or reporter.finishes or incoming.profile.own_errors
        async with self._calls.answered(exchange, step, incoming, ways, sent, reads) as (answer, forwarded):
            exchange.request = forwarded.body
            try:
                await self._output(exchange, step, answer, expected(forwarded), reporter, reply)
            finally:
                exchange.cost_usd = reporter.cost

    async def _ways(
        self,
        exchange: Exchange,
        step: Step,
        route: Route,
        incoming: Incoming,
        arrival: Arrival,
        past: Past,
    ) -> tuple[Asked | None, Sequence[Chosen], Kept | None]:
        """What is asked for, where somebody has to know, the upstreams that can serve it, in turn, and what
        is to be kept of it."""
        guarded, several = exchange.policy.enforced(), self._upstreams.several
        profile, key = incoming.profile, arrival.key
        limited = key is not None and key.allowed_models is not None
        reads = guarded or (route.body and (several or limited or bool(profile.rules or profile.keeps)))
        plain = arrival.plain() if reads else arrival.readable()
        if not guarded:
            exchange.name = _label(exchange)
            facts.of_request(exchange, plain)
        asked = None
        if reads and (plain or route.body):
            try:
                rules = profile.rules_of(creates=route.creates) if route.body else ()
                asked = await inputs.read(plain, rules)
            except Uninspectable:
                if exchange.policy.enforced(Stage.INPUT):
                    async with self._stage(exchange, Stage.INPUT, step):
                        raise
                raise
        if not route.body:  # there is no model
            ways = [Chosen(self._upstreams.of_response(past.upstream()), None)]
        elif asked is None:
            ways = [self._upstreams.of_model(None)]
        else:
            named = asked.named(in_turn=profile.falls_back)
            check_models(key, named, self._upstreams.same)
            named = named if profile.falls_back else {"model": named["model"]}
            ways = self._upstreams.of_models(named, by_name=profile.by_name)
            if self._credentials.authorization(None) is None:
                ways = _to_one(ways)
        if several:
            exchange.upstream = ways[0].upstream.name
        kept = None
        if profile.keeps is not None and asked is not None and self._keeper is not None:
            asked, kept = await self._keeper.begin(
                arrival.tenant, profile.keeps, asked, exchange.policy, creates=route.creates
            )
        return asked, ways, kept

    async def _kept(
        self,
        exchange: Exchange,
        step: Step,
        route: Route,
        incoming: Incoming,
        arrival: Arrival,
        recalled: Recalled | None,
        reporter: Reporter,
        reply: Reply,
    ) -> None:
        """Answer with what is kept here; the guards of the output look at it as at any answer."""
        assert self._keeper is not None
        assert incoming.response_id is not None
        given = arrival.tenant, route, incoming.response_id, incoming.query, recalled
        body = await self._keeper.answer(*given)
        answer = LocalAnswer(200, body.encode(), {"date": date()})
        expected = Expected(route.answer, {}, lambda _: None)
        await self._output(exchange, step, answer, expected, reporter, reply)

    async def _inspected(
        self,
        exchange: Exchange,
        step: Step,
        route: Route,
        incoming: Incoming,
        arrival: Arrival,
        asked: Asked | None,
    ) -> inputs.Forwarded:
        body, observes = arrival.body, incoming.profile.observes
        session = session_of(exchange.headers, asked.value if asked else {}) if observes else None

        def observe(document: Mapping[str, Any]) -> None:
            facts.of_document(exchange, document)
            if observes:
                facts.of_traced(exchange, document)

        as_it_came = inputs.Forwarded(body, {}, False)
        if not exchange.policy.enforced():
            exchange.session_id = session
            if asked is None:
                plain = arrival.readable()
                stripped = inputs.stripped(plain)
                return as_it_came if stripped is plain else inputs.Forwarded(stripped, {}, True)
            observe(asked.value)
            return inputs.Forwarded(asked.text.encode(), {}, True) if asked.changed else as_it_came
        if asked is not None:
            _check_background(exchange.policy, asked.value)
        label = _label(exchange)
        if not exchange.policy.enforced(Stage.INPUT):
            exchange.name, exchange.session_id = label, session
            if asked is None:
                return as_it_came
            forwarded = await inputs.inspect(None, asked, {}, observe, echoed=route.body)
        else:
            async with self._stage(exchange, Stage.INPUT, step) as run:
                exchange.name = await inputs.clean_label(run, "X-Opper-Name", label)
                exchange.session_id = await inputs.clean_label(run, SESSION_HEADER, session)
                await inputs.inspect_query(run, incoming.query)
                forwarded = as_it_came
                if asked is not None:
                    forwarded = await inputs.inspect(
                        run, asked, self._settings.unscannable, observe, echoed=route.body
                    )
                if run.blocked:
                    exchange.verdicts[Stage.INPUT] = run.verdict()
                    raise report.violation(exchange, Stage.INPUT)
        return forwarded if forwarded.changed else forwarded._replace(body=body)

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
        enforced = exchange.policy.enforced()
        fails = expected.failed is not None and answer.status >= 400  # told in the dialect's envelope
        finishes = fails or (reporter.finishes and can_be_finished(answer))
        if not enforced and not exchange.policy.output and not finishes:
            await self._delivery.raw(exchange, answer, reply)
            expected.learned(exchange.response_id)  # where it is, in case somebody asks for it again
            return
        async with self._stage(exchange, Stage.OUTPUT, step) as run:
            stream = None
            types = content_type(answer)
            if is_stream(types) and is_like_utf8(types.lower()) and not fails:

                def observe(response: Mapping[str, Any]) -> None:
                    learn(exchange, expected, response, response.get("id"))

                stream = GuardedStream(run, reporter, expected.echoes, self._settings.unscannable, observe)
            if not enforced and not finishes:
                await self._delivery.watched(exchange, answer, run, stream, expected, reporter, reply)
            elif stream is not None:
                await self._delivery.stream(exchange, answer, run, stream, expected, reporter, reply)
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


def _to_one(ways: Sequence[Chosen]) -> list[Chosen]:
    """The ways that take the client's own credential to one upstream alone: the first that has no key."""
    own = next((way.upstream.name for way in ways if way.upstream.api_key is None), None)
    return [way for way in ways if way.upstream.api_key is not None or way.upstream.name == own]


async def _sent(
    exchange: Exchange, profile: Profile, asked: Asked | None, way: Chosen, forwarded: inputs.Forwarded
) -> inputs.Forwarded:
    """`forwarded` as it is sent that way, for one model by its name there."""
    if asked is None:
        return forwarded
    picks = profile.falls_back and isinstance(asked.value.get("models"), list)
    if not picks and (way.model is None or way.model == way.asked):
        return forwarded
    now = forwarded if forwarded.changed else forwarded._replace(body=asked.text.encode())
    given = now, way.number, way.asked, way.model
    made = await off_loop(len(now.body), inputs.renamed, *given, picks=picks)
    if picks:
        listed = way.number - (asked.value.get("model") is not None)  # its index in `models`
        exchange.model_place = "model" if listed < 0 else str(listed)
        seen = exchange.policy.enforced(Stage.INPUT)
        told = not seen or exchange.may_tell(exchange.model_place, Stage.INPUT)
        exchange.model = facts.label(way.model) if told else None
    elif exchange.model == way.asked:
        exchange.model = way.model
    return made if made.changed else forwarded


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
