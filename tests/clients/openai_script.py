"""What users of OpenAI's Python SDK do."""

import json
from collections.abc import AsyncIterator
from typing import Any

from openai import APIError, NotFoundError, OpenAI

from tests.clients.scenarios import SECOND, Access, Lookup, main

KEY = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
FUNCTION: Any = {"name": "lookup", "description": "Look up.", "parameters": KEY}


class Client:
    def __init__(self, access: Access, lookup: Lookup) -> None:
        # Opper's door reports in items, of which the stream helper warns: its models do not know them.
        headers = {"X-Opper-Guard-Report": "fields"} if access.url.endswith("/v3/compat") else {}
        client = OpenAI(base_url=access.url, api_key=access.key, max_retries=0, default_headers=headers)
        self.responses: Any = client.responses
        self.model, self.lookup = access.model, lookup.lookup
        # As Julep's document has tools, and as all others have them.
        nested = access.url.endswith("/julep")
        self.tool: Any = {"type": "function", **({"function": FUNCTION} if nested else FUNCTION)}

    def create(self, asked: Any, **more: Any) -> Any:
        return self.responses.create(model=self.model, input=asked, **more)

    def called(self, response: Any) -> list[Any]:
        """The results of the tools that a response calls."""
        # Where no tool is called, Julep's output is a string.
        calls = [item for item in response.output if getattr(item, "type", None) == "function_call"]
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
        response = self.create(asked, tools=[self.tool])
        while results := self.called(response):
            asked += [*response.output, *results]
            response = self.create(asked, tools=[self.tool])
        yield response.output_text

    async def stream_tools(self, text: str) -> AsyncIterator[str]:
        asked: list[Any] = [{"role": "user", "content": text}]
        while True:
            for event in self.responses.create(model=self.model, input=asked, tools=[self.tool], stream=True):
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

    async def conversation(self, text: str) -> AsyncIterator[str]:
        """As `previous`, by a name of the client's own."""
        name = f"{self.model}-python"
        self.create(text, conversation=name)
        yield self.create(SECOND, conversation=name).output_text

    async def stored(self, text: str) -> AsyncIterator[str]:
        """As `previous`, of a response that is kept; and reads, lists and deletes what is."""
        first = self.create(text, store=True)
        assert self.responses.retrieve(first.id).output == first.output
        second = self.create(SECOND, previous_response_id=first.id, store=True)
        assert second.previous_response_id == first.id
        for made, roles in ((first, ["user"]), (second, ["user", "assistant", "user"])):
            items = list(self.responses.input_items.list(made.id, order="asc", limit=2))
            assert [item.role for item in items] == roles
            assert all(item.id and item.content[0].text for item in items)
        for made in (first, second):
            self.responses.delete(made.id)
            try:
                self.responses.retrieve(made.id)
            except NotFoundError:
                continue
            raise AssertionError(f"{made.id} is still there")
        yield second.output_text


def read(error: APIError) -> list[Any]:
    return [error.code, error.message]


main(Client, read)
