"""The tables of the configuration file, checked and made into values.

Messages name the place and what would be right there, and of the value that was found at most a plain word
that stands for another: else it may be a key.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from guardproxy.entries import entry, name_of
from guardproxy.errors import ConfigError
from guardproxy.prices import Price
from guardproxy.rates import RIGHT_RATES, are_meant, parse
from guardproxy.settings import (
    HIDDEN,
    SETTINGS,
    UNSCANNABLE_REASONS,
    UNSCANNABLE_WORDS,
    LimitSettings,
    StoreSettings,
)
from guardproxy.types import Action, OnError, Policy, Rule
from guardproxy.values import GUARD_NAME, MEMORY, RIGHT_STORAGE, RIGHT_STORE, is_storage, is_store

_WORD = re.compile(r"(?=.{1,16}$)[A-Za-z]+(?:[_-][A-Za-z]+)?")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like `name`, or at all."""
    near = difflib.get_close_matches(name, known := sorted(known), n=1, cutoff=0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(known)}." if known else " None is known here."


def _misplaced(name: str) -> str:
    """In TOML a key belongs to the last heading above it, wherever its author meant it to be."""
    top = name in {setting.name for setting in SETTINGS}
    return " It is a top-level key: those come before the first [table] of the file." if top else ""


def check_names(
    where: str,
    table: Mapping[str, object],
    known: Iterable[str],
    plugins: Iterable[str] = (),
) -> None:
    """Refuse the names in `table` that are not `known`.

    Tables of `plugins` belong elsewhere.

    Raises:
        ConfigError: tells all of them, and the nearest known ones.
    """
    known = tuple(known)

    def problem(name: str) -> str:
        if name in plugins and isinstance(table[name], dict):
            return f"[{name}] is not known. The settings of the plugin {name!r} belong in [plugins.{name}]."
        return f"{name[:64]!r} is not known.{_misplaced(name) or nearest(name, known)}"

    if problems := [problem(name) for name in table if name not in known]:
        raise ConfigError(f"{where}: {' '.join(problems)}")


def found_word(found: object) -> str:
    """What stands where another word should, if it is a word: anything else may be a key."""
    return (
        f', not "{found}"' if isinstance(found, str) and (found == HIDDEN or _WORD.fullmatch(found)) else ""
    )


def _found_rates(found: object) -> str:
    number = isinstance(found, int | float) and are_meant(str(found))
    shows = number or (isinstance(found, str) and are_meant(found))
    return f", not {json.dumps(found)}" if shows else found_word(found)


def one_of(words: Iterable[str]) -> str:
    """The `words`, as a message tells which there are."""
    *most, last = [f'"{word}"' for word in words]
    return f"{', '.join(most)} or {last}" if most else last


@dataclass(frozen=True, slots=True)
class Tables:
    """Checks tables, and makes values of them.

    `where` they are is what messages begin with: the file, or an entry of a list in it. `references` are
    the names, from there, of the values that came through `${env:NAME}`.
    """

    where: str
    references: Mapping[str, str]

    def inside(self, heading: str, index: int, found: Mapping[str, object]) -> "Tables":
        """The same within a table of the list `heading`."""
        prefix = f"{heading}.{index}."
        references = {
            name.removeprefix(prefix): text
            for name, text in self.references.items()
            if name.startswith(prefix)
        }
        shown = {key: value for key, value in found.items() if key not in references}
        return Tables(f"{self.where}: {entry(heading, index, name_of(shown))}", references)

    def policy(self, found: object, name: str = "policy") -> Policy:
        """The floor, or the policy of a key."""
        table = self.table(found, name)
        check_names(f"{self.where}: [{name}]", table, ("input", "output"))
        stages = {
            stage: {
                guard: self._rule(guard, rule, f"{name}.{stage}.{guard}")
                for guard, rule in self.table(table.get(stage, {}), f"{name}.{stage}").items()
            }
            for stage in ("input", "output")
        }
        return Policy(stages["input"], stages["output"])

    def _rule(self, guard: str, found: object, name: str) -> Rule:
        if not GUARD_NAME.fullmatch(guard):
            raise ConfigError(
                f"{self.where}: {name[:64]!r}: a guard's name has the characters a-z, 0-9, _ and -."
            )
        words = [action.word for action in Action]
        if not isinstance(found, dict) and found not in words and (hint := _misplaced(guard)):
            raise ConfigError(f"{self.where}: {name} is no rule of a guard.{hint}")
        table = {"action": found} if isinstance(found, str) else self.table(found, name)
        check_names(f"{self.where}: {name}", table, ("action", "mode", "on_error"))
        if "action" not in table:
            raise ConfigError(f"{self.where}: {name} lacks its action: {one_of(words)}.")
        self.word(table["action"], f"{name}.action", words)
        self.word(table.get("mode", "shadow"), f"{name}.mode", ["shadow"])
        on_error = self.word(table.get("on_error", "fail"), f"{name}.on_error", [str(e) for e in OnError])
        return Rule(Action[table["action"].upper()], "mode" in table, OnError(on_error))

    def unscannable(self, found: object) -> dict[str, str]:
        """What happens to what cannot be inspected, by reason."""
        table = self.table(found, "unscannable")
        check_names(f"{self.where}: [unscannable]", table, UNSCANNABLE_REASONS)
        return {
            reason: self.word(word, f"unscannable.{reason}", UNSCANNABLE_WORDS)
            for reason, word in table.items()
        }

    def limits(self, found: object) -> LimitSettings:
        """How many requests are let in, and where they are counted."""
        table = self.table(found, "limits")
        check_names(f"{self.where}: [limits]", table, LimitSettings.__struct_fields__)
        return LimitSettings(
            per_address=self.rates(table.get("per_address"), "limits.per_address"),
            per_key=self.rates(table.get("per_key"), "limits.per_key"),
            storage=self.text(table.get("storage", MEMORY), "limits.storage", is_storage, RIGHT_STORAGE),
        )

    def prices(self, found: object) -> dict[str, Price]:
        """The price of each model, in US dollars for a million tokens."""
        return {
            model: self._price(price, f"prices.{model[:64]!r}")
            for model, price in self.table(found, "prices").items()
        }

    def _price(self, found: object, name: str) -> Price:
        table = self.table(found, name)
        if any(isinstance(value, dict) for value in table.values()):
            raise ConfigError(
                f'{self.where}: {name} has tables in it. Quote a name that has a dot: [prices."gpt-4.1"].'
            )
        check_names(f"{self.where}: {name}", table, Price.__struct_fields__)
        for key in ("input", "output"):
            if key not in table:
                raise ConfigError(f"{self.where}: {name} lacks {key!r}, US dollars for a million tokens.")
        for key, value in table.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ConfigError(f"{self.where}: {name}.{key} must be a number from 0.")
        return Price(**{key: Decimal(str(value)) for key, value in table.items()})

    def store(self, found: object) -> StoreSettings:
        """Where responses and conversations are kept."""
        table = self.table(found, "store")
        check_names(f"{self.where}: [store]", table, StoreSettings.__struct_fields__)
        default = StoreSettings()
        return StoreSettings(
            url=self.text(table.get("url", default.url), "store.url", is_store, RIGHT_STORE),
            retention=self.seconds(table.get("retention", default.retention), "store.retention"),
        )

    def table(self, found: object, name: str) -> dict[str, Any]:
        """A table."""
        if not isinstance(found, dict):
            raise ConfigError(f"{self.where}: {name} must be a table.")
        return found

    def text(self, found: object, name: str, check: Callable[[str], object], right: str) -> str:
        """A text that passes the `check`."""
        if not isinstance(found, str) or not check(found):
            raise ConfigError(f"{self.where}: {name} must be {right}.")
        return found

    def word(self, found: object, name: str, words: Iterable[str]) -> str:
        """One of some `words`."""
        words = tuple(words)
        if not isinstance(found, str) or found not in words:
            given = (name, name.removesuffix(".action"))  # a rule may be its action alone
            shown = "" if self.references.keys() & given else found_word(found)
            raise ConfigError(f"{self.where}: {name} must be {one_of(words)}{shown}.")
        return found

    def seconds(self, found: object, name: str) -> float:
        """A time."""
        if isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < math.inf:
            return float(found)
        raise ConfigError(f"{self.where}: {name} must be a number greater than 0.")

    def rates(self, found: object, name: str) -> str | None:
        """Rates, where there are any."""
        try:
            if found is None or (isinstance(found, str) and parse(found)):
                return found
        except ValueError:
            pass
        shown = "" if name in self.references else _found_rates(found)
        raise ConfigError(f"{self.where}: {name} must be {RIGHT_RATES}{shown}.")
