"""The clients' model: it repeats all that it is told, lets a secret slip, and calls the tool that it gets."""

import json
from collections.abc import Iterator
from typing import Any

from guardproxy.testing import Reply
from guardproxy.testing.events import frames, function_call_item, message_item, response, stream_events

# A stream's first words have left when the secret behind them comes.
BEGINNING = "Here is what was found, in many words that have nothing to hide: " * 3


class Model:
    """Answers requests, whole or streamed. It remembers what was said before a `previous_response_id`."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self._heard: dict[str, list[str]] = {}

    def says(self, *heard: str) -> str:
        """What it says to these texts."""
        return f"{BEGINNING}{' | '.join(heard)} | {self.secret}, the end."

    def __call__(self, asked: dict[str, Any]) -> dict[str, Any] | Reply:
        number = len(self._heard) + 1
        known: dict[str, Any] = {"request": asked, "id": f"resp_{number}"}
        heard = [*self._heard.get(asked.get("previous_response_id") or "", []), *_texts(asked["input"])]
        if asked.get("tools") and not _results(asked["input"]):
            key = {"key": self.secret}
            item = function_call_item("lookup", key, id=f"fc_{number}", call_id=f"call_{number}")
        else:
            item = message_item(self.says(*heard), id=f"msg_{number}")
        self._heard[known["id"]] = [*heard, *_texts([item])]
        if asked.get("stream"):
            return Reply(frames(stream_events([item], **known)), content_type="text/event-stream")
        return response(items=[item], **known)


def _results(given: Any) -> list[Any]:
    items = [] if isinstance(given, str) else given
    return [item for item in items if item.get("type") == "function_call_output"]


def _texts(given: Any) -> Iterator[str]:
    if isinstance(given, str):
        yield given
        return
    for item in given:
        match item.get("type", "message"):
            case "message" if isinstance(item["content"], str):
                yield item["content"]
            case "message":
                yield from (part["text"] for part in item["content"])
            case "function_call":
                yield json.loads(item["arguments"])["key"]
            case "function_call_output":
                yield item["output"].strip('"')  # some clients send it as JSON
