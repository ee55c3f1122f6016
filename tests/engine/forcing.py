"""Makes a real model say a given text: a grammar that has one sentence."""

import json
from typing import Any


def say(text: str) -> dict[str, Any]:
    """The arguments of `client.responses.create` after which the engine can only say `text`."""
    return {
        "model": "tiny",
        "input": "Say it.",
        "max_output_tokens": max(16, 4 * len(text)),
        "extra_body": {"grammar": f"root ::= {json.dumps(text, ensure_ascii=False)}"},
    }
