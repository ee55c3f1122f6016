"""The public test harness: a fake Responses upstream, builders of events, and checks for detectors."""
