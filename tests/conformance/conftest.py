"""Profiles of Hypothesis for the conformance suite; `--hypothesis-profile=deep` is for the night."""

from hypothesis import Phase, settings

settings.register_profile("ci", max_examples=20, derandomize=True, deadline=None, database=None)
settings.register_profile("unshrunk", settings.get_profile("ci"), phases=[Phase.generate])
settings.register_profile("deep", max_examples=3000, deadline=None)
settings.load_profile("ci")
