"""The stages of exchanges: guards at work over one side of the traffic, and what is told of it in the end."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from guardproxy.delivery import aside
from guardproxy.errors import GuardProxyError, ShuttingDown, Violation
from guardproxy.exchange import Exchange
from guardproxy.hooks import Hooks
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.stage import CANCELLED, StageRun
from guardproxy.types import Stage, Step

_GIVEN_UP = ("client_disconnected", ShuttingDown.code)  # then nobody waits for guards in shadow


class Stages:
    """Opens the stages of one proxy's exchanges."""

    def __init__(self, settings: Settings, scanner: Scanner, hooks: Hooks) -> None:
        self._settings = settings
        self._scanner = scanner
        self._hooks = hooks

    @asynccontextmanager
    async def open(self, exchange: Exchange, stage: Stage, parent: Step) -> AsyncIterator[StageRun]:
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
                    await self._tell(exchange, run, problem)

            if run.watching:  # guards in shadow hold up nothing: the stage ends when they are done
                exchange.verdicts[stage] = run.verdict(problem)
                exchange.deferred.append(end)
            else:
                await end(False)

    async def _tell(self, exchange: Exchange, run: StageRun, problem: str | None) -> None:
        stage, verdict = run.stage, run.finish(problem)
        if problem in (None, Violation.code) and (content := run.content()) is not None:
            exchange.content[stage] = content
        for guard in run.guards:
            exchange.guard_seconds[f"{stage}.{guard.name}"] = guard.step.seconds
            if guard.step.failure is not None:
                exchange.guard_failures[f"{stage}.{guard.name}"] = guard.step.failure
        if exchange.policy.stage(stage):
            exchange.verdicts[stage] = verdict
            await self._hooks.verdict(exchange, verdict)


def _unseen(_: Step) -> AbstractContextManager[object]:
    """A stage without guards is no step of the exchange."""
    return nullcontext()
