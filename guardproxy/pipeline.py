"""One exchange, top to bottom. The only caller of the hooks; the order of things is written down here."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from guardproxy import checks, facts, failures, inputs, policy, report
from guardproxy.auth import Credentials, check_models
from guardproxy.calls import Calls, as_sent
from guardproxy.completion import Completer
from guardproxy.delivery import (
    Delivery,
    aside,
    can_be_finished,
    content_type,
    learn,
    reply_json,
)
from guardproxy.encodings import is_like_utf8, is_stream
from guardproxy.errors import GuardProxyError, NotImplementedYet, Uninspectable
from guardproxy.exchange import Exchange
from guardproxy.headers import date
from guardproxy.hooks import Hooks
from guardproxy.inputs import Asked, Forwarded
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
from guardproxy.routes import Route
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.shapes import GRAMMAR
from guardproxy.stage import StageRun
from guardproxy.stages import Stages
from guardproxy.streaming import GuardedStream
from guardproxy.threads import off_loop
from guardproxy.types import Guard, Policy, Stage, Step
from guardproxy.upstream import Answer
from guardproxy.upstreams import Chosen, Upstreams, own_to_one

if TYPE_CHECKING:
    from guardproxy.limits import Limits


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts that every exchange goes through."""

    settings: Settings
    guards: Mapping[str, Guard]
    stages: Stages
    upstreams: Upstreams
    hooks: Hooks
    credentials: Credentials
    calls: Calls
    delivery: Delivery
    memory: PolicyMemory
    keeper: Keeper | None

    def policy(self, exchange: Exchange, arrival: Arrival, asked: Policy) -> policy.Resolved:
        """The guards that are on: those of the deployment, of the client's key, of headers, and as `asked`.

        Raises:
            InvalidRequest: a header asks for what there is not.
        """
        return policy.resolve(
            self.settings.floor,
            arrival.key,
            exchange.headers,
            self.hooks.resolve_policy,
            self.guards,
            asked,
        )


class Pipeline:
    """Serves the exchanges of one proxy."""

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
        credentials = Credentials(settings)
        self._parts = _Parts(
            settings,
            guards,
            Stages(settings, scanner, hooks),
            upstreams,
            hooks,
            credentials,
            Calls(credentials, hooks),
            Delivery(settings),
            PolicyMemory(),
            keeper,
        )
        self._lifecycle = Lifecycle(credentials, hooks, settings.max_body, limits)
        calls, delivery = self._parts.calls, self._parts.delivery
        self.models = Models(settings, self._lifecycle, upstreams, calls, delivery)

    async def run(self, incoming: Incoming, profile: Profile, route: Route, reply: Reply) -> None:
        """Serve one exchange."""
        incoming.shown, incoming.creates = profile.target + route.tail, route.creates
        incoming.profile = profile
        await self._lifecycle.live(
            incoming,
            reply,
            lambda exchange, step, arrival: _Passage(
                self._parts, exchange, step, incoming, arrival, route, reply
            ).run(),
        )

    async def check(self, incoming: Incoming, reply: Reply) -> None:
        """Serve one check (checks.py): the guards look, and the upstream is never called."""
        await self._lifecycle.live(
            incoming, reply, lambda exchange, step, arrival: self._check(exchange, step, arrival, reply)
        )

    async def _check(self, exchange: Exchange, step: Step, arrival: Arrival, reply: Reply) -> None:
        parts, body = self._parts, arrival.plain()
        report_form(exchange.headers)  # there is one form here, but no wrong word passes
        check_charset(exchange.headers)
        asked = await off_loop(len(body), checks.read, body, parts.guards)
        resolved = parts.policy(exchange, arrival, asked.policy)
        exchange.policy = checks.policy_at(asked.stage, resolved.policy, parts.guards)
        async with parts.stages.open(exchange, asked.stage, step) as run:
            judged = await checks.judge(run, exchange, asked, _label(exchange), parts.settings.unscannable)
        answer = await off_loop(len(body), checks.answer, exchange, asked.stage, judged)
        await reply_json(exchange, reply, 200, answer)


class _Passage:
    """One exchange on its way through the parts."""

    def __init__(
        self,
        parts: _Parts,
        exchange: Exchange,
        step: Step,
        incoming: Incoming,
        arrival: Arrival,
        route: Route,
        reply: Reply,
    ) -> None:
        self._parts = parts
        self._exchange = exchange
        self._step = step
        self._incoming = incoming
        self._profile = incoming.profile
        self._arrival = arrival
        self._route = route
        self._reply = reply
        # Where a response is made has to be known when somebody asks for it again.
        self._places = route.remembers and parts.upstreams.several
        keeps = self._profile.keeps is Keeps.RESPONSES
        self._is_kept = keeps and incoming.response_id is not None and route.method != "POST"
        owner = arrival.tenant if keeps else None
        self._earlier: str | None = None  # the response here that this one goes on from
        self._past = Past(parts.memory, route, incoming.response_id, owner)

    async def run(self) -> None:
        """Answer the client.

        Raises:
            GuardProxyError: it could not be.
        """
        exchange = self._exchange
        recalled = await self._resolve()
        self._reporter = reporter_of(exchange, self._profile, self._route, self._parts.settings.prices)
        self._check_query()
        asked, ways, kept = (None, (), None) if self._is_kept else await self._ways()
        forwarded = await self._inspected(asked)
        watching = self._watch_input(asked)
        try:
            try:
                if self._is_kept:
                    await self._answer_kept(recalled)
                else:
                    await self._answer(asked, ways, kept, forwarded)
            except GuardProxyError as error:
                # Before the shadows of the input are done: they run to their end, and nobody waits for them.
                await fail(exchange, error, self._reply, self._profile)
            if watching is not None and not exchange.severed:
                await watching
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait((watching,))  # its steps end within the exchange

    async def _resolve(self) -> Recalled | None:
        """Note the policy. What is asked for, where it is kept here, is made under one, too."""
        parts, exchange, arrival = self._parts, self._exchange, self._arrival
        made_under, recalled = self._past.policy(), None
        if self._is_kept and parts.keeper is not None:
            recalled = await parts.keeper.recall(arrival.tenant, self._incoming.response_id or "")
            if recalled is not None:
                made_under = made_under.join(policy.present(recalled.policy, parts.guards))
        exchange.policy = parts.policy(exchange, arrival, made_under).policy
        if not exchange.policy.enforced():
            exchange.name = _label(exchange)
        return recalled

    def _check_query(self) -> None:
        exchange, query = self._exchange, self._incoming.query
        if exchange.policy.enforced():
            check_query(query)
            check_charset(exchange.headers)
        if self._route.streams and asks_for_stream(query):
            if exchange.policy.holds(Stage.OUTPUT):
                raise NotImplementedYet(
                    "The events of a stored response cannot be inspected yet; leave out 'stream' and "
                    "'starting_after', or the guards of the output that block or redact.",
                    param="stream",
                )
            exchange.stream = True

    async def _ways(self) -> tuple[Asked | None, Sequence[Chosen], Kept | None]:
        """What is asked for, where somebody has to know, the upstreams that can serve it, in turn, and what
        is to be kept of it."""
        parts, exchange, arrival, profile = self._parts, self._exchange, self._arrival, self._profile
        upstreams, key = parts.upstreams, arrival.key
        asked = await self._read()
        if not self._route.body:  # there is no model
            ways: Sequence[Chosen] = [Chosen(upstreams.of_response(self._past.upstream()), None)]
        elif asked is None:
            ways = [upstreams.of_model(None)]
        else:
            check_models(key, asked.named(in_turn=profile.falls_back), upstreams.same)
            named = asked.named(in_turn=True) if profile.falls_back else [("model", asked.value.get("model"))]
            ways = upstreams.of_models(named, by_name=profile.by_name)
            if parts.credentials.authorization(None) is None:
                ways = own_to_one(ways)
        if upstreams.several:
            exchange.upstream = ways[0].upstream.name
        kept = None
        keeper = parts.keeper if self._route.body else None
        if profile.keeps is not None and asked is not None and keeper is not None:
            if profile.keeps is Keeps.RESPONSES:
                self._earlier = asked.value.get("previous_response_id")
            asked, kept = await keeper.begin(
                arrival.tenant, profile.keeps, asked, exchange.policy, creates=self._route.creates
            )
        return asked, ways, kept

    async def _read(self) -> Asked | None:
        exchange, arrival, route, profile = self._exchange, self._arrival, self._route, self._profile
        guarded = exchange.policy.enforced()
        limited = arrival.key is not None and arrival.key.allowed_models is not None
        needed = self._parts.upstreams.several or limited or bool(profile.rules or profile.keeps)
        reads = guarded or (route.body and needed)
        plain = arrival.plain() if reads else arrival.readable()
        if not guarded:
            facts.of_request(exchange, plain)
        if not reads or not (plain or route.body):
            return None
        try:
            return await inputs.read(plain, profile.rules_of(creates=route.creates) if route.body else ())
        except Uninspectable:
            if exchange.policy.enforced(Stage.INPUT):
                async with self._stage(Stage.INPUT):
                    raise
            raise

    async def _inspected(self, asked: Asked | None) -> Forwarded:
        """What is forwarded of a request, or would be, as the guards of the input let it."""
        exchange, arrival, route = self._exchange, self._arrival, self._route
        observes, unscannable = self._profile.observes, self._parts.settings.unscannable
        session = session_of(exchange.headers, asked.value if asked else {}) if observes else None

        def observe(document: Mapping[str, Any]) -> None:
            facts.of_document(exchange, document)
            if observes:
                facts.of_traced(exchange, document)

        as_it_came = Forwarded(arrival.body, {}, False)
        if not exchange.policy.enforced():
            exchange.session_id = session
            if asked is None:
                plain = arrival.readable()
                stripped = inputs.stripped(plain)
                return as_it_came if stripped is plain else Forwarded(stripped, {}, True)
            observe(asked.value)
            return Forwarded(asked.text.encode(), {}, True) if asked.changed else as_it_came
        if asked is not None:
            _check_background(exchange.policy, asked.value)
        label = _label(exchange)
        if not exchange.policy.enforced(Stage.INPUT):
            exchange.name, exchange.session_id = label, session
            if asked is None:
                return as_it_came
            forwarded = await inputs.inspect(None, asked, {}, observe, echoed=route.body)
        else:
            async with self._stage(Stage.INPUT) as run:
                exchange.name = await inputs.clean_label(run, "X-Opper-Name", label)
                exchange.session_id = await inputs.clean_label(run, SESSION_HEADER, session)
                await inputs.inspect_query(run, self._incoming.query)
                forwarded = as_it_came
                if asked is not None:
                    forwarded = await inputs.inspect(run, asked, unscannable, observe, echoed=route.body)
                if run.blocked:
                    exchange.verdicts[Stage.INPUT] = run.verdict()
                    raise report.violation(exchange, Stage.INPUT)
        return forwarded if forwarded.changed else forwarded._replace(body=arrival.body)

    def _watch_input(self, asked: Asked | None) -> "asyncio.Task[None] | None":
        """Guards that only run in shadow look at the input while it is on its way."""
        exchange, arrival, route = self._exchange, self._arrival, self._route
        if not exchange.policy.input or exchange.policy.enforced(Stage.INPUT):
            return None

        name, exchange.name = exchange.name, None
        session, exchange.session_id = exchange.session_id, None

        async def watch() -> None:
            async with self._stage(Stage.INPUT) as run:
                with aside(exchange, run):
                    exchange.name = await inputs.clean_label(run, "X-Opper-Name", name)
                    exchange.session_id = await inputs.clean_label(run, SESSION_HEADER, session)
                    await inputs.inspect_query(run, self._incoming.query)
                    if asked is not None or arrival.plain() or route.body:
                        read = asked or await inputs.read(arrival.plain())
                        await inputs.inspect(run, read, {}, echoed=route.body)

        return asyncio.create_task(watch())

    async def _answer_kept(self, recalled: Recalled | None) -> None:
        """Answer with what is kept here; the guards of the output look at it as at any answer."""
        keeper, incoming = self._parts.keeper, self._incoming
        assert keeper is not None
        assert incoming.response_id is not None
        given = self._arrival.tenant, self._route, incoming.response_id, incoming.query, recalled
        answer = LocalAnswer(200, (await keeper.answer(*given)).encode(), {"date": date()})
        await self._output(answer, Expected(self._route.answer, {}, lambda _: None))

    async def _answer(
        self, asked: Asked | None, ways: Sequence[Chosen], kept: Kept | None, forwarded: Forwarded
    ) -> None:
        """Answer with what a plugin says, or the first of the `ways` that has an answer."""
        parts, exchange, profile, reporter = self._parts, self._exchange, self._profile, self._reporter
        before: dict[int, Forwarded] = {}

        async def sent(way: Chosen) -> Forwarded:
            if way.number in before:
                return before[way.number]
            made = before[way.number] = await as_sent(exchange, profile, asked, way, forwarded)
            if (completion := profile.completion) is not None and self._route.creates:
                request = made.body if made.changed else self._arrival.readable()
                own, stored = report.own_id(exchange), kept is not None and kept.conversation is None
                reporter.completer = Completer(
                    completion, request, own, made.asked, stored=stored, earlier=self._earlier
                )
            return made

        def expected(made: Forwarded) -> Expected:
            return Expected(
                self._route.answer,
                made.echoes,
                lambda response_id: self._past.learned(exchange, response_id),
                partial(kept.keep, made.body) if kept else None,
                partial(failures.told, profile) if profile.own_errors else None,
            )

        first = await sent(ways[0])
        exchange.request = first.body
        local = await parts.hooks.before_forward(exchange)
        if local is not None:
            await self._output(LocalAnswer.of(local), expected(first))
            return
        reads = exchange.policy.enforced() or reporter.finishes or profile.own_errors or self._places
        given = exchange, self._step, self._incoming, ways, sent, reads
        async with parts.calls.answered(*given) as (answer, made):
            exchange.request = made.body
            try:
                await self._output(answer, expected(made))
            finally:
                exchange.cost_usd = reporter.cost

    async def _output(self, answer: "Answer | LocalAnswer", expected: Expected) -> None:
        exchange, reporter, reply = self._exchange, self._reporter, self._reply
        delivery, unscannable = self._parts.delivery, self._parts.settings.unscannable
        exchange.status = answer.status
        enforced = exchange.policy.enforced()
        fails = expected.failed is not None and answer.status >= 400  # told in the dialect's envelope
        finishes = fails or (reporter.finishes and can_be_finished(answer))
        if not enforced and not exchange.policy.output and not finishes:
            wanted = self._places or (self._route.remembers and not exchange.policy.empty)
            await delivery.raw(exchange, answer, reply, expected.learned if wanted else None)
            return
        async with self._stage(Stage.OUTPUT) as run:
            stream = None
            types = content_type(answer)
            if is_stream(types) and is_like_utf8(types.lower()) and not fails:

                def observe(response: Mapping[str, Any]) -> None:
                    learn(exchange, expected, response, response.get("id"))

                stream = GuardedStream(run, reporter, expected.echoes, unscannable, observe)
            if not enforced and not finishes:
                await delivery.watched(exchange, answer, run, stream, expected, reporter, reply)
            elif stream is not None:
                await delivery.stream(exchange, answer, run, stream, expected, reporter, reply)
            else:
                await delivery.whole(exchange, answer, run, expected, reporter, reply)

    def _stage(self, stage: Stage) -> AbstractAsyncContextManager[StageRun]:
        return self._parts.stages.open(self._exchange, stage, self._step)


def _check_background(whole: Policy, document: Mapping[str, Any]) -> None:
    # Whatever an upstream may take for true.
    if document.get("background") not in (None, False) and whole.holds():
        raise NotImplementedYet(
            "A response in the background cannot be inspected yet; leave out 'background', or the guards "
            "that block or redact.",
            param="background",
        )


def _label(exchange: Exchange) -> str | None:
    """What the client calls the exchange."""
    name = exchange.headers.get("x-opper-name", "")
    return name if GRAMMAR.fullmatch(name) else None
