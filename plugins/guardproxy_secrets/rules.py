"""The rule table: what the providers' documented key formats look like.

Sources: the providers' own pages on their tokens. A rule's examples are made from it by a test, so that
nothing in this repository is, or looks like, a real key.
"""

from guardproxy_secrets.platforms import PLATFORMS
from guardproxy_secrets.rule import Rule
from guardproxy_secrets.services import SERVICES

RULES: tuple[Rule, ...] = (*PLATFORMS, *SERVICES)
