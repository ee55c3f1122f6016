"""Makes a tiny llama model with random weights and a tokenizer of one character a token."""

from pathlib import Path

import gguf
import numpy as np

EMBEDDING = 64
FEED_FORWARD = 128
HEADS = 4
CONTEXT = 4096
# llama.cpp finds out from the template how a model writes its reasoning: here between <think> tags.
TEMPLATE = """{%- for m in messages %}<|im_start|>{{ m.role }}
{%- if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}<|im_end|>
{%- endfor %}{%- if add_generation_prompt %}<|im_start|>assistant
{%- endif %}"""


def _vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """SentencePiece style: the special tokens, the 256 bytes, and the printable ASCII characters."""
    kinds = gguf.TokenType
    tokens = [b"<unk>", b"<s>", b"</s>"]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL]
    tokens += [b"<0x%02X>" % value for value in range(256)]
    types += [kinds.BYTE] * 256
    characters = ["\u2581", *(chr(code) for code in range(0x21, 0x7F))]
    tokens += [character.encode() for character in characters]
    types += [kinds.NORMAL] * len(characters)
    return tokens, [-float(rank) for rank in range(len(tokens))], [int(kind) for kind in types]


def write_model(path: Path) -> None:
    """Write the model as GGUF. Same bytes each time: the weights come from a fixed seed."""
    tokens, scores, types = _vocabulary()
    random = np.random.default_rng(7)

    def weights(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return (random.standard_normal(shape) * 0.05).astype(np.float32)

    ones = np.ones(EMBEDDING, dtype=np.float32)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", weights(len(tokens), EMBEDDING))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", weights(len(tokens), EMBEDDING))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", weights(EMBEDDING, EMBEDDING))
    for name in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", weights(FEED_FORWARD, EMBEDDING))
    writer.add_tensor("blk.0.ffn_down.weight", weights(EMBEDDING, FEED_FORWARD))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
