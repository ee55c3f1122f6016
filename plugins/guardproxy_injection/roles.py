"""Marks that chat templates put around a role's words: in a message they pretend to be another's."""

import re
from collections.abc import Sequence

from guardproxy import Detector, Match

_ROLE = r"(?:system|developer|assistant|user|human|tool|model|ipython)"
_MARK = re.compile(
    # ChatML, Llama 3, Phi, Granite, Kimi, Command, gpt-oss
    rf"<\|(?:im_(?:start|sep)\|>\s{{0,4}}{_ROLE}\b|start_header_id\|>|end_header_id\|>|{_ROLE}\|>"
    rf"|im_(?:system|user|assistant|middle)\|>|start_of_role\|>|end_of_role\|>|(?:system|user|chatbot)_token\|>"
    r"|start_of_turn_token\|>|(?:start|channel|message|python_tag)\|>)"
    # What closes a turn of theirs
    r"|(?P<closing><\|(?:im_end|eot_id|eom_id|begin_of_text|end_of_text|endoftext|endofprompt|end)\|>)"
    # Llama 2 and Mistral; Gemma; DeepSeek
    r"|(?-i:\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS)\]|<</?SYS>>)"
    rf"|<(?:start_of_turn>(?:system|user|model|developer)\b|end_of_turn>)"
    r"|<｜(?:begin▁of▁sentence|end▁of▁sentence|User|Assistant)｜>"
    # Alpaca and its like, at the beginning of a line; Claude's old turns, behind a blank line
    rf"|(?:(?<=\n)|\A)\#\#\#[ ]?(?:System|Assistant|Human)(?:[ ](?:Prompt|Message))?:"
    rf"|(?<=\n\n)(?:Human|Assistant):(?=[ \n])",
    re.IGNORECASE,
)


class RoleMarkers(Detector):
    """The marks of the chat templates in wide use."""

    name = "roles"
    reach = 40
    inline_below = 4_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The marks; no two of them overlap."""
        return [
            [
                Match(*found.span(), "ROLE_SPOOFING", validated=True)
                for found in _MARK.finditer(text)
                if not (found["closing"] and _is_quoted(text, *found.span()))
            ]
            for text in texts
        ]


def _is_quoted(text: str, start: int, end: int) -> bool:
    """Whether nothing else is in the quotes: code, or a manual, speaks of the mark."""
    return start > 0 and text[start - 1] in "\"'`" and text[end : end + 1] == text[start - 1]
