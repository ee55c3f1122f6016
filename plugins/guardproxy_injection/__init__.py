"""The guard `prompt_injection`: orders to the model that a text smuggles in. At the input only."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from guardproxy import Guard, Settings, Stage, hookimpl
from guardproxy_injection.hidden import HiddenText
from guardproxy_injection.model import THRESHOLD, InjectionModel
from guardproxy_injection.orders import Overrides
from guardproxy_injection.roles import RoleMarkers

__all__ = ["HiddenText", "InjectionModel", "InjectionSettings", "Overrides", "RoleMarkers"]


class InjectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[guards.prompt_injection]`.

    `threshold` is the probability, 0 to 1, from which the model calls a block an injection. The rules
    have none: what they know is there or is not.
    """

    threshold: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = THRESHOLD


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """The options of `[guards.prompt_injection]`."""
    return InjectionSettings


@hookimpl
def guardproxy_register_guards(settings: Settings) -> Iterable[Guard]:
    """One guard: three sets of rules and the model."""
    options = settings.of_plugin("prompt_injection", InjectionSettings)
    detectors = (HiddenText(), RoleMarkers(), Overrides(), InjectionModel(options.threshold))
    summary = "Orders to the model that a message or a tool's result smuggles in."
    return [Guard("prompt_injection", detectors, frozenset({Stage.INPUT}), summary)]
