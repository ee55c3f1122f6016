"""What users of Pydantic AI do."""

from collections.abc import AsyncIterator
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.scenarios import SECOND, Access, Lookup, TwoAgents, main


class Client(TwoAgents):
    def __init__(self, access: Access, lookup: Lookup) -> None:
        client = AsyncOpenAI(base_url=access.url, api_key=access.key, max_retries=0)
        model = OpenAIResponsesModel(access.model, provider=OpenAIProvider(openai_client=client))
        self.agent = Agent(model)
        self.equipped = Agent(model, tools=[lookup.lookup])

    async def _asked(self, agent: Any, text: str) -> str:
        said: str = (await agent.run(text)).output
        return said

    async def history(self, text: str) -> AsyncIterator[str]:
        first = await self.agent.run(text)
        yield (await self.agent.run(SECOND, message_history=first.all_messages())).output

    async def previous(self, text: str) -> AsyncIterator[str]:
        first = await self.agent.run(text)
        settings = OpenAIResponsesModelSettings(openai_previous_response_id="auto")
        second = await self.agent.run(SECOND, message_history=first.all_messages(), model_settings=settings)
        yield second.output

    async def _streamed(self, agent: Any, text: str) -> AsyncIterator[str]:
        async with agent.run_stream(text) as result:
            async for piece in result.stream_text(delta=True, debounce_by=None):
                yield piece


def read(error: Any) -> list[Any]:
    if isinstance(error, ModelHTTPError):
        return [error.body["code"], error.body["message"]]
    return [error.__cause__.code, str(error)]


main(Client, read)
