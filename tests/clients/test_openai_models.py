"""What OpenAI's SDK makes of the answers of Opper's door: its models, and its streams."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from guardproxy import members
from tests.harness import proxy, sse
from tests.test_completion import THIN, completed
from tests.test_members import thin_events

openai = pytest.importorskip("openai", reason="openai is not installed (dependency group `engine`)")
httpx2 = pytest.importorskip("httpx2", reason="it comes with openai")

USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
GUARDS: list[dict[str, str]] = [{}, {"x-opper-guard-output": "tags=redact"}]
ASK = {"model": "m-1", "input": "hi"}


def upstream(request: httpx.Request) -> httpx.Response:
    if json.loads(request.content).get("stream"):
        *events, last = thin_events()
        last["response"] = {**last["response"], "usage": USAGE}
        return httpx.Response(
            200, headers={"content-type": "text/event-stream"}, content=sse([*events, last])
        )
    return httpx.Response(200, json={**THIN, "usage": USAGE})


@asynccontextmanager
async def sdk() -> AsyncIterator[Any]:
    """OpenAI's client of the door, in memory."""
    async with proxy(upstream) as client:

        async def handle(request: Any) -> Any:
            got = await client.post(await request.aread(), dict(request.headers), request.url.path)
            return httpx2.Response(got.status, headers=got.headers, content=got.body)

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
        async with openai.AsyncOpenAI(
            base_url="http://proxy/v3/compat", api_key="any", http_client=http
        ) as made:
            yield made


@pytest.fixture(params=GUARDS, ids=["without guards", "with a guard"])
def guards(request: pytest.FixtureRequest) -> Any:
    return request.param


# Its models do not know the items, and where the helper makes a copy they say so.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_the_sdk_reads_whole_and_streamed_answers(guards: dict[str, str]) -> None:
    said = "say [TAG]" if guards else "say TAG-5678"
    kinds = [*(["opper:guard"] if guards else []), "opper:meta", "message"]
    async with sdk() as client:
        whole = await client.responses.create(**ASK, extra_headers=guards)
        stream = await client.responses.create(**ASK, stream=True, extra_headers=guards)
        events = [event async for event in stream]
        async with client.responses.stream(**ASK, extra_headers=guards) as helper:
            helped = [event async for event in helper]
            final = await helper.get_final_response()
    for response in (whole, events[-1].response, final):
        assert isinstance(response, openai.types.responses.Response)
        assert response.output_text == said
        assert [item.type for item in response.output] == kinds
        assert (response.status, response.model, response.usage.total_tokens) == ("completed", "m-1", 15)
        assert response.completed_at >= response.created_at > 0
    for heard in (events, helped):
        assert "".join(e.delta for e in heard if e.type == "response.output_text.delta") == said
        assert heard[-1].type == "response.completed"


async def test_an_answer_with_the_report_as_a_field_is_what_the_model_demands() -> None:
    asked = {**GUARDS[1], "x-opper-guard-report": "fields"}
    async with sdk() as client:
        found = await client.responses.with_raw_response.create(
            **ASK, tools=[], parallel_tool_calls=True, extra_headers=asked
        )
    body = {**json.loads(found.text), "tools": [], "parallel_tool_calls": True}  # Opper's has them optional
    assert openai.types.responses.Response.model_validate(body).output_text == "say [TAG]"


def test_an_answer_of_openrouters_dialect_is_what_the_model_demands() -> None:
    body = json.loads(completed(members.OPENROUTER, json.dumps(THIN)))
    assert openai.types.responses.Response.model_validate(body).output_text == body["output_text"]
