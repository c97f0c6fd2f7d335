"""`skunlearn.key`: a secret that repeats, and never shows."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import skunlearn
from skunlearn.key import Key, key_from_random_state
from skunlearn.naive_bayes import BernoulliNB

SECRET = bytes(range(100, 132))


@pytest.mark.parametrize("given", [None, "x" * 32, list(SECRET), bytearray(SECRET), np.frombuffer(SECRET, np.uint8), 7])
def test_a_key_takes_bytes_only(given: Any) -> None:
    """The error names the type, and nothing of the content."""
    with pytest.raises(TypeError, match=r"A Key takes 32 bytes\. Got \w+ instead") as caught:
        Key(given)
    assert "100" not in str(caught.value)
    assert "xx" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 16, 31, 33, 64])
def test_a_key_has_32_bytes(length: int) -> None:
    """A short key is no secret, and a long one is a mistake."""
    with pytest.raises(ValueError, match=f"A Key takes 32 bytes. Got {length} instead"):
        Key(bytes(length))


def test_a_key_shows_nothing() -> None:
    """No repr, str, format or attribute dict holds any of it."""
    key = Key(SECRET)
    for text in (repr(key), str(key), f"{key}", repr([key]), repr({"k": key}), repr(BernoulliNB(alpha=1.0))):
        assert "100" not in text
        assert SECRET[:4].hex() not in text
    assert repr(key) == "Key(...)"
    assert not hasattr(key, "__dict__")


def test_keys_are_equal_by_their_bytes() -> None:
    """Equal keys hash alike; anything else is another key."""
    assert Key(SECRET) == Key(bytes(SECRET))
    assert hash(Key(SECRET)) == hash(Key(bytes(SECRET)))
    assert Key(SECRET) != Key(bytes(32))
    assert Key(SECRET) != SECRET
    assert len({Key(SECRET), Key(SECRET), Key(bytes(32))}) == 2


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda k: pickle.loads(pickle.dumps(k)), lambda k: clone(k, safe=False)]
)
def test_copies_of_a_key_are_the_key(copied: Any) -> None:
    """A parameter that is a Key survives clone, copy and pickle."""
    assert copied(Key(SECRET)) == Key(SECRET)


def test_drawn_keys_differ() -> None:
    """The operating system is asked each time."""
    assert len({Key.draw() for _ in range(50)}) == 50


def test_derived_keys_depend_on_key_purpose_and_position() -> None:
    """A part has a key of its own; the same part has the same."""
    key = Key(SECRET)
    parts = [key.derive("step"), key.derive("step", 1), key.derive("other"), Key(bytes(32)).derive("step"), key]
    assert len(set(parts)) == 5
    assert key.derive("step", 0) == Key(SECRET).derive("step")


def test_a_random_state_stands_for_a_key() -> None:
    """An integer of any type gives one key, a RandomState its next bytes, a Key itself, None a drawn one."""
    of_int = [key_from_random_state(state) for state in (7, np.int64(7), np.uint8(7))]
    assert len(set(of_int)) == 1
    assert key_from_random_state(8) not in of_int
    assert key_from_random_state(-7) not in of_int
    first, again = (key_from_random_state(np.random.RandomState(3)) for _ in range(2))
    stream = np.random.RandomState(3)
    assert first == again == key_from_random_state(stream) != key_from_random_state(stream)
    assert key_from_random_state(Key(SECRET)) == Key(SECRET)
    assert key_from_random_state(None) != key_from_random_state(None)


@pytest.mark.parametrize(
    "state", ["7", 7.0, b"7", [7], np.random.default_rng(7), object()], ids=lambda s: type(s).__name__
)
def test_another_random_state_is_refused(state: Any) -> None:
    """The error lists what is accepted and names the type, not the value."""
    with pytest.raises(
        TypeError, match=r"random_state must be None, an int.*skunlearn\.Key.*Got \w+ instead"
    ) as caught:
        key_from_random_state(state)
    assert "7" not in str(caught.value)


def test_a_model_keeps_its_key_and_a_clone_does_not() -> None:
    """pickle and deepcopy keep a drawn key, clone and refit draw another, reseed as well; the digest ignores all."""
    model = BernoulliNB().fit(np.eye(3), [0, 1, 1])
    key, digest = model._live.key, skunlearn.state_digest(model)

    assert pickle.loads(pickle.dumps(model))._live.key == key
    assert copy.deepcopy(model)._live.key == key
    assert skunlearn.reference_fit(model)._live.key == key
    assert clone(model).fit(np.eye(3), [0, 1, 1])._live.key != key
    assert model.reseed() is model
    assert model._live.key != key
    assert skunlearn.state_digest(model) == digest
    assert model.partial_forget([1])._live.key == pickle.loads(pickle.dumps(model))._live.key
