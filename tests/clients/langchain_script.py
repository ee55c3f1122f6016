"""What users of LangChain's model for the Responses API do."""

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import APIError

from tests.clients.scenarios import SECOND, Access, Lookup, main


class Client:
    def __init__(self, access: Access, lookup: Lookup) -> None:
        self.settings: dict[str, Any] = {
            "model": access.model,
            "base_url": access.url,
            "api_key": access.key,
            "use_responses_api": True,
            "max_retries": 0,
        }
        self.model = ChatOpenAI(**self.settings)
        self.tool = tool(lookup.lookup)
        self.equipped = self.model.bind_tools([self.tool])

    async def whole(self, text: str) -> AsyncIterator[str]:
        yield self.model.invoke(text).text

    async def stream(self, text: str) -> AsyncIterator[str]:
        async for chunk in self.model.astream(text):
            yield chunk.text

    async def tools(self, text: str) -> AsyncIterator[str]:
        asked: list[Any] = [HumanMessage(text)]
        answer: AIMessage = self.equipped.invoke(asked)
        while answer.tool_calls:
            asked += [answer, *(self.tool.invoke(call) for call in answer.tool_calls)]
            answer = self.equipped.invoke(asked)
        yield answer.text

    async def stream_tools(self, text: str) -> AsyncIterator[str]:
        asked: list[Any] = [HumanMessage(text)]
        while True:
            answer: Any = None
            for chunk in self.equipped.stream(asked):
                answer = chunk if answer is None else answer + chunk
                yield chunk.text
            if not answer.tool_calls:
                return
            asked += [answer, *(self.tool.invoke(call) for call in answer.tool_calls)]

    async def history(self, text: str) -> AsyncIterator[str]:
        asked = HumanMessage(text)
        yield self.model.invoke([asked, self.model.invoke([asked]), HumanMessage(SECOND)]).text

    async def previous(self, text: str) -> AsyncIterator[str]:
        model = ChatOpenAI(**self.settings, use_previous_response_id=True)
        asked = HumanMessage(text)
        yield model.invoke([asked, model.invoke([asked]), HumanMessage(SECOND)]).text


def read(error: APIError) -> list[Any]:
    return [error.code, error.message]


main(Client, read)
