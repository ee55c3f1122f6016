"""Marks that chat templates put around a role's words: in a message they pretend to be another's."""

import re
from collections.abc import Sequence

from guardproxy import Detector, Match

_ROLE = r"(?:system|developer|assistant|user|human|tool|model|ipython)"
_MARK = re.compile(
    # ChatML, Llama 3, Phi, and what closes a turn of theirs
    rf"<\|(?:im_(?:start|sep)\|>\s{{0,4}}{_ROLE}\b|im_end\|>|start_header_id\|>|end_header_id\|>|eot_id\|>"
    rf"|begin_of_text\|>|endoftext\|>|endofprompt\|>|{_ROLE}\|>|end\|>|channel\|>|message\|>)"
    # Llama 2 and Mistral; Gemma; DeepSeek
    r"|(?-i:\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS)\]|<</?SYS>>)"
    rf"|<(?:start_of_turn>(?:system|user|model|developer)\b|end_of_turn>)"
    r"|<｜(?:begin▁of▁sentence|end▁of▁sentence|User|Assistant)｜>"
    # Alpaca and its like, at the beginning of a line; Claude's old turns, behind a blank line
    rf"|(?:(?<=\n)|\A)\#\#\#[ ]?(?:System|Assistant|Human)(?:[ ](?:Prompt|Message))?:"
    rf"|(?<=\n\n)(?:Human|Assistant|System):(?=[ \n])",
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
            [Match(*found.span(), "ROLE_SPOOFING", validated=True) for found in _MARK.finditer(text)]
            for text in texts
        ]
