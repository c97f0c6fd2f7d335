"""The keyed function and row tags are frozen: a changed bit would change every model fitted with that key."""

import numpy as np
import pytest
from _unlearn_native import _native

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("purpose", "data", "expected"),
    [
        ("row", b"", "2f5f0aabb071233d8d29e38bc5d858d9795a693722e155d6c5982ab5a4dcc706"),
        ("sample", b"abc" * 50, "75d2e7f015dcd46dd9be0e971a48a3a8a5b81a9173172b04034e22c52ea0adb0"),
        ("", b"\0", "0133a8a8273fb3dd1441035b9aaeb7f9c8b8efa0edeb2725d9059671e37e583a"),
    ],
)
def test_prf_equals_reference_implementation(purpose, data, expected):
    """prf is BLAKE3's keyed hash of purpose, NUL, data; constants from the reference implementation."""
    assert _native.prf(KEY, purpose, data).hex() == expected


def test_row_tags_equal_reference_implementation():
    """A tag is the first 128 bits of prf(key, "row", kind + bytes of the id), as [low, high]."""
    int_tags = _native.row_tags(KEY, np.array([0, -1, 2**63 - 1, -(2**63)]))
    str_tags = _native.row_tags(KEY, ["", "a", "é", "x" * 60, "customer-" * 20])

    assert int_tags.dtype == np.uint64
    assert int_tags.tolist() == [
        [0xF8CA44DF13B5B0A0, 0xABCECF0170A1FF2F],
        [0x24C8617A75290103, 0xBE4EC96408425A9E],
        [0x9F6FA378D0B22F96, 0xB9E288E83FFF1058],
        [0x3E957BD605035843, 0x2B002AD86BB48D5A],
    ]
    assert str_tags.tolist() == [
        [0x9007D9F2D6C09952, 0x2244F6A5327308FD],
        [0xB8AAABF71CADDAF8, 0xCC7DBECE4BA31938],
        [0xE7FF551BFEFF38B3, 0xA264CF2470B5AA5D],
        [0x180A891D20C1E42B, 0xDF61D8EFBD99A095],
        [0xC0A576F57A11D5BB, 0x3C9C9A81B378AFC1],
    ]


def test_tags_are_prf_prefixes():
    (tag,) = _native.row_tags(KEY, np.array([77]))

    assert tag.tobytes() == _native.prf(KEY, "row", b"i" + (77).to_bytes(8, "little"))[:16]


def test_key_of_wrong_length_is_refused():
    with pytest.raises(ValueError, match="key has 31 bytes, but must have 32"):
        _native.prf(KEY[:31], "row", b"")
    with pytest.raises(ValueError, match="key has 0 bytes"):
        _native.row_tags(b"", ["a"])


def test_purpose_with_nul_is_refused():
    """Otherwise ("a", "b\\0c") and ("a\\0b", "c") would be the same message."""
    with pytest.raises(ValueError, match="NUL"):
        _native.prf(KEY, "a\0b", b"")
