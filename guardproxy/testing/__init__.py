"""The public test harness: a fake Responses upstream, builders of events, and checks for detectors."""

from guardproxy.testing.upstream import DROP, FakeUpstream, Gate, Recorded, Reply, Script, Signal

__all__ = ["DROP", "FakeUpstream", "Gate", "Recorded", "Reply", "Script", "Signal"]
