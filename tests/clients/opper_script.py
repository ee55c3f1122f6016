"""What users of Opper's SDK do, against the guardproxy whose address is given. Run by the SDK's own Python.

Prints what it saw as one JSON object. The texts in it are the test's canaries: `argv[2]`.
"""

import asyncio
import contextlib
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from opperai import AgentError, ApiError, NotFoundError, Opper, tool

URL, CANARY = sys.argv[1], sys.argv[2]
MODEL = "openai/test-model"
opper = Opper(api_key="client", base_url=URL)


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}, {CANARY}"


@tool
def broken(city: str) -> str:
    """Never works."""
    raise ValueError(f"no {city}, {CANARY}")


def spans_api() -> dict[str, Any]:
    """Every call of `opper.spans` and `opper.traces`."""
    begun = datetime.now(UTC) - timedelta(minutes=1)
    root = opper.spans.create(
        name="job",
        type="agent",
        input=CANARY,
        start_time=begun,
        meta={"n": 1, "text": CANARY},
        tags={"t": CANARY},
    )
    child = opper.spans.create(name=CANARY, type="retriever", parent_id=root.id, trace_id=root.trace_id)
    opper.spans.update(child.id, output=CANARY, metadata={"hits": 3}, end_time=begun + timedelta(seconds=30))
    whole = opper.spans.create(
        name="whole", parent_id=child.id, start_time=begun, end_time=datetime.now(UTC), error=CANARY
    )
    opper.spans.update(whole.id, end_time=datetime.now(UTC))
    got = opper.spans.get(child.id)
    trace = opper.traces.get(root.trace_id)
    listed = opper.traces.list(limit=5)
    opper.spans.update(root.id, end_time=datetime.now(UTC).isoformat(), output=CANARY)
    gone = opper.spans.create(name="gone")
    opper.spans.delete(gone.id)
    opper.traces.delete(opper.spans.create(name="gone-too").trace_id)
    return {
        "root": root.id,
        "trace": root.trace_id,
        "got": [got.id, got.trace_id, got.parent_id, got.status],
        "traced": [trace.id, trace.span_count, [span.name for span in trace.spans], trace.status],
        "listed": [item.id for item in listed.data],
        "missing": _error(lambda: opper.spans.get(gone.id)),
    }


def _error(call: Any) -> list[Any]:
    try:
        call()
    except ApiError as error:
        return [type(error).__name__, error.status, error.body["error"]["message"]]
    return []


@opper.trace("decorated")
def decorated() -> None:
    """Ends in an error."""
    raise ValueError(CANARY)


async def agents() -> dict[str, Any]:
    """An agent with a tool, a tool that fails, and a sub-agent, below a span of the program's own."""
    child = opper.agent(name="child-agent", instructions=f"Child. {CANARY}", model=MODEL)
    helper = child.as_tool(name="ask_child", description="Ask the other agent.")
    agent = opper.agent(
        name="main-agent", instructions=f"Be brief. {CANARY}", model=MODEL, tools=[weather, broken, helper]
    )
    async with opper.trace_async("pipeline", input=CANARY) as handle:
        result = await agent.run(f"What is the weather? {CANARY}")
    streamed = opper.agent(name="streaming agent", instructions="Be brief.", model=MODEL)
    events = [type(event).__name__ async for event in streamed.stream(f"Again? {CANARY}")]
    return {
        "pipeline": handle.id,
        "output": result.output,
        "iterations": result.meta.iterations,
        "calls": [[call.name, call.output, call.error] for call in result.meta.tool_calls],
        "events": sorted(set(events)),
    }


async def blocked() -> str:
    """An agent whose question a guard blocks."""
    agent = opper.agent(name="blocked-agent", instructions="Be brief.", model=MODEL)
    try:
        await agent.run(f"Say {CANARY}")
    except (AgentError, ApiError) as error:
        return f"{type(error).__name__}"
    return "answered"


def functions() -> list[Any]:
    """What guardproxy does not serve."""
    try:
        opper.call("summarise", input=CANARY)
    except NotFoundError as error:
        return [error.status, error.body["error"]["message"]]
    return []


def main() -> None:
    """Do what `argv[3]` says."""
    wanted = sys.argv[3]
    if wanted == "spans":
        with contextlib.suppress(ValueError):
            decorated()
        told: Any = {**spans_api(), "functions": functions()}
    else:
        told = asyncio.run({"agents": agents, "blocked": blocked}[wanted]())
    print(json.dumps(told))


main()
