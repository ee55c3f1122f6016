"""What users of OpenAI's Python SDK do."""

import json
from collections.abc import AsyncIterator
from typing import Any

from openai import APIError, OpenAI

from tests.clients.scenarios import SECOND, Access, Lookup, main

KEY = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
TOOL: Any = {"type": "function", "name": "lookup", "description": "Look up.", "parameters": KEY}


class Client:
    def __init__(self, access: Access, lookup: Lookup) -> None:
        # Opper's door reports in items, of which the stream helper warns: its models do not know them.
        headers = {"X-Opper-Guard-Report": "fields"} if access.url.endswith("/v3/compat") else {}
        client = OpenAI(base_url=access.url, api_key=access.key, max_retries=0, default_headers=headers)
        self.responses, self.model, self.lookup = client.responses, access.model, lookup.lookup

    def create(self, asked: Any, **more: Any) -> Any:
        return self.responses.create(model=self.model, input=asked, **more)

    def called(self, response: Any) -> list[Any]:
        """The results of the tools that a response calls."""
        calls = [item for item in response.output if item.type == "function_call"]
        return [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": self.lookup(**json.loads(call.arguments)),
            }
            for call in calls
        ]

    async def whole(self, text: str) -> AsyncIterator[str]:
        yield self.create(text).output_text

    async def dump(self, text: str) -> AsyncIterator[str]:
        """Warns of whatever its models do not know."""
        dumped = json.loads(self.create(text).model_dump_json())
        yield dumped["output"][0]["content"][0]["text"]

    async def stream(self, text: str) -> AsyncIterator[str]:
        said = ""
        with self.responses.stream(model=self.model, input=text) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    said += event.delta
                    yield event.delta
            assert stream.get_final_response().output_text == said

    async def tools(self, text: str) -> AsyncIterator[str]:
        asked: list[Any] = [{"role": "user", "content": text}]
        response = self.create(asked, tools=[TOOL])
        while results := self.called(response):
            asked += [*response.output, *results]
            response = self.create(asked, tools=[TOOL])
        yield response.output_text

    async def stream_tools(self, text: str) -> AsyncIterator[str]:
        asked: list[Any] = [{"role": "user", "content": text}]
        while True:
            for event in self.responses.create(model=self.model, input=asked, tools=[TOOL], stream=True):
                if event.type == "response.output_text.delta":
                    yield event.delta
                if event.type == "response.completed":
                    response = event.response
            if not (results := self.called(response)):
                return
            asked += [*response.output, *results]

    async def history(self, text: str) -> AsyncIterator[str]:
        asked = {"role": "user", "content": text}
        first = self.create([asked])
        yield self.create([asked, *first.output, {"role": "user", "content": SECOND}]).output_text

    async def previous(self, text: str) -> AsyncIterator[str]:
        yield self.create(SECOND, previous_response_id=self.create(text).id).output_text


def read(error: APIError) -> list[Any]:
    return [error.code, error.message]


main(Client, read)
