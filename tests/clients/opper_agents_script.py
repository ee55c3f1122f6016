"""What users of Opper's SDK do with agents, which ask for responses."""

import logging
from collections.abc import AsyncIterator
from typing import Any

from opperai import ApiError, Opper
from opperai.agent import Agent, ResultEvent, TextDeltaEvent, tool

from tests.clients.scenarios import SECOND, Access, Lookup, TwoAgents, main

# Where a stream ends in an error the SDK leaves its generators open, which the loop then says of them.
logging.getLogger("asyncio").addFilter(lambda record: "asynchronous generator" not in record.getMessage())


class Client(TwoAgents):
    def __init__(self, access: Access, lookup: Lookup) -> None:
        opper = Opper(api_key=access.key, base_url=access.url)
        given: dict[str, Any] = {"instructions": "Be brief.", "model": access.model}
        self.agent = opper.agent(name="plain", **given)
        self.equipped = opper.agent(name="equipped", tools=[tool(lookup.lookup)], **given)

    async def _asked(self, agent: Any, text: str) -> str:
        said: str = (await agent.run(text)).output
        return said

    async def history(self, text: str) -> AsyncIterator[str]:
        conversation = self.agent.conversation()
        await conversation.send(text)
        yield (await conversation.send(SECOND)).output

    async def _streamed(self, agent: Agent, text: str) -> AsyncIterator[str]:
        said = ""
        async for event in agent.stream(text):
            if isinstance(event, TextDeltaEvent):
                said += event.text
                yield event.text
            if isinstance(event, ResultEvent):
                assert event.output == said


def read(error: Any) -> list[Any]:
    while error.__cause__ and not isinstance(error, ApiError):
        error = error.__cause__
    if isinstance(error, ApiError):
        return [error.body["error"]["code"], error.body["error"]["message"]]
    return [None, str(error)]


main(Client, read)
