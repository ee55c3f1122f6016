"""Reads a text with the encoder: one probability for each head, the maximum over the text's windows.

Each window is computed alone, without padding: what a text scores does not depend on its neighbours.
"""

import functools
import hashlib
import importlib.resources
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardproxy_encoder.bag import Bag
from guardproxy_encoder.plain import plain
from guardproxy_encoder.wordpiece import WordPieces, windows

TOXIC, INJECTION = "toxic", "injection"
CATEGORIES = ("hate", "harassment", "threat", "sexual", "self_harm", "profanity")
HEADS = (TOXIC, *CATEGORIES, INJECTION)

# Tokens of a window, marks included, and tokens that two windows share at least. Training has wider ones;
# in narrow ones an insult among friendly sentences stays visible, and whole texts lose little.
SIZE, OVERLAP = 48, 8
REMEMBERED = 256
# Characters before a block that its detectors see: some words, for what a cut goes through. Cuts are ends of
# sentences as a rule, and each of these characters costs as much as one of the block.
CONTEXT = 64
# How much the bag of pieces counts beside the network: as cross-validation liked it.
BAG_SHARE = 2.0

_NOTHING: Mapping[str, float] = MappingProxyType(dict.fromkeys(HEADS, 0.0))


class Encoder:
    """The network, its vocabulary and the bag of pieces, ready to read."""

    def __init__(self, session: Any, pieces: WordPieces, bag: Bag) -> None:
        self._session = session
        self._pieces = pieces
        self._bag = bag
        # Two guards ask for the same text, one after the other. Kept are digests and numbers, no text.
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, Mapping[str, float]] = OrderedDict()

    def read(self, text: str) -> Mapping[str, float]:
        """The probability of each head; all 0 where the vocabulary spells no word of the text."""
        digest = hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16
        ).digest()
        found = self._known.get(digest)
        if found is None:
            found = self._known[digest] = self._read(text)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return found

    def _read(self, text: str) -> Mapping[str, float]:
        ids = self._pieces.ids(plain(text))
        if not self._pieces.any_letters(ids):
            return _NOTHING
        logits = np.max([self._logits(window) for window in windows(ids, SIZE, OVERLAP)], axis=0)
        probabilities = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
        return MappingProxyType(dict(zip(HEADS, probabilities.tolist(), strict=True)))

    def _logits(self, window: list[int]) -> NDArray[np.float32]:
        (logits,) = self._session.run(None, {"ids": np.array(window, dtype=np.int64)})
        found: NDArray[np.float32] = logits.copy()
        found[HEADS.index(INJECTION)] += BAG_SHARE * self._bag.logit(window[1:-1])
        return found


@functools.cache
def load() -> Encoder:
    """The encoder of the package's own files, once in each process. Nothing is fetched."""
    import onnxruntime  # slow to import: only where texts are scanned

    files = importlib.resources.files(__name__.partition(".")[0])
    options = onnxruntime.SessionOptions()
    # One thread, and none that spins: workers are processes, and there are as many as were asked for.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # texts differ in length: an arena would keep the largest of each
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        (files / "encoder.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    vocabulary = (files / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    with (files / "bag.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
        bag = Bag(stored["weights"].astype(np.float32), float(stored["bias"]))
    return Encoder(session, WordPieces(vocabulary), bag)
