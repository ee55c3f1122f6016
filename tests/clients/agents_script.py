"""What users of OpenAI's Agents SDK do."""

import logging
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import APIError, AsyncOpenAI

from tests.clients.scenarios import SECOND, Access, Lookup, TwoAgents, main

set_tracing_disabled(True)  # it would send traces elsewhere
# What it raises it logs as well.
logging.getLogger("openai.agents").addFilter(lambda record: record.levelno < logging.ERROR)


class Client(TwoAgents):
    def __init__(self, access: Access, lookup: Lookup) -> None:
        client = AsyncOpenAI(base_url=access.url, api_key=access.key, max_retries=0)
        model = OpenAIResponsesModel(access.model, client)
        self.agent = Agent(name="plain", model=model)
        self.equipped = Agent(name="equipped", model=model, tools=[function_tool(lookup.lookup)])

    async def _asked(self, agent: Any, text: str) -> str:
        said: str = (await Runner.run(agent, text)).final_output
        return said

    async def history(self, text: str) -> AsyncIterator[str]:
        first = await Runner.run(self.agent, text)
        second: Any = [*first.to_input_list(), {"role": "user", "content": SECOND}]
        yield (await Runner.run(self.agent, second)).final_output

    async def previous(self, text: str) -> AsyncIterator[str]:
        first = await Runner.run(self.agent, text)
        second = await Runner.run(self.agent, SECOND, previous_response_id=first.last_response_id)
        yield second.final_output

    async def _streamed(self, agent: Any, text: str) -> AsyncIterator[str]:
        said, result = "", Runner.run_streamed(agent, text)
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                said += event.data.delta
                yield event.data.delta
        assert result.final_output == said


def read(error: APIError) -> list[Any]:
    return [error.code, error.message]


main(Client, read)
