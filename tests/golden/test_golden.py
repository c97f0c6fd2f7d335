"""Digests that were written down once: the same on every machine, in both build profiles, with any BLAS."""

import json
from pathlib import Path

import pytest

from skunlearn import reference_fit, state_digest

from .cases import golden_models

DIGESTS = json.loads(Path(__file__).with_name("digests.json").read_text())
MODELS = dict(golden_models())


def test_every_model_is_written_down() -> None:
    """A model without a digest would not be looked at."""
    assert MODELS.keys() == DIGESTS.keys()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_digest_is_the_golden_one(name: str) -> None:
    """A digest changes only on purpose, by tests/golden/regenerate.py and a line in the changelog."""
    assert state_digest(MODELS[name]).hex() == DIGESTS[name]
    assert state_digest(reference_fit(MODELS[name])).hex() == DIGESTS[name]
