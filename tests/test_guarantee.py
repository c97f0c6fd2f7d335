"""`skunlearn.guarantee`: a promise that code can read."""

import dataclasses
import json

import pytest

from skunlearn import Guarantee
from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis
from skunlearn.guarantee import weakest
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB

KINDS = ["exact", "certified", "refit", "approximate", "none"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_guarantee_round_trips_through_json(kind: str) -> None:
    """Its dict is plain values that make the same guarantee again."""
    guarantee = Guarantee(kind, "why", epsilon=0.5, delta=1e-6, max_distance=2.0, n_releases=3, not_covered=("a", "b"))

    plain = json.loads(json.dumps(guarantee.to_dict()))

    assert Guarantee(**{**plain, "not_covered": tuple(plain["not_covered"])}) == guarantee


def test_a_guarantee_of_another_kind_is_refused() -> None:
    """There are five kinds, and a typing mistake is not a sixth."""
    with pytest.raises(ValueError, match=r"kind must be one of .*'exact'.*Got 'Exact' instead"):
        Guarantee("Exact", "why")


def test_a_guarantee_cannot_be_changed() -> None:
    """Nobody upgrades a promise in place."""
    guarantee = Guarantee("none", "why")
    with pytest.raises(dataclasses.FrozenInstanceError):
        guarantee.kind = "exact"
    assert guarantee == Guarantee("none", "why") != Guarantee("refit", "why")
    assert len({guarantee, Guarantee("none", "why")}) == 1


def test_a_chain_promises_its_weakest_link() -> None:
    """Whatever the order of the links."""
    for stronger, kind in enumerate(KINDS):
        assert weakest([*KINDS[:stronger], kind]) == weakest([kind, *KINDS[:stronger]]) == kind


@pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB, LinearDiscriminantAnalysis, PCA])
def test_the_models_are_exact(Estimator: type) -> None:
    """Exact means no epsilon, no distance, nothing uncovered; also after forgetting."""
    model = Estimator().fit([[0, 1], [1, 0], [1, 1]], [0, 1, 1])
    for guarantee in (model.guarantee_, model.partial_forget([2]).guarantee_):
        assert guarantee.kind == "exact"
        assert (guarantee.epsilon, guarantee.delta, guarantee.max_distance) == (None, None, None)
        assert guarantee.not_covered == ()
