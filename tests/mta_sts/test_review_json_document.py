"""`mta_sts.review.json_document`: a document read piece by piece says the same as one that is read at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mta_sts.review import json_document
from mta_sts.review.json_document import Document, JsonError

LARGEST = 2**20
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)  # fmt: skip


def read(data: bytes, largest: int = LARGEST) -> dict[str, Any]:
    """Return the document as it is read by pieces."""
    found: dict[str, Any] = {}
    for name, value in Document(data, largest).members(each_of="steps"):
        if name == "steps":
            found.setdefault(name, [])
            found[name] += [] if value is Document.EMPTY else [value]
        else:
            found[name] = value
    return found


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["config", "ä", "diagnostics"]), VALUES), st.lists(VALUES), st.integers(0, 4))
@example({}, [], 0)
@example({"ä": 12345}, ["ß" * 40_000, {"🙂": 1}], 1)
def test_what_is_read_is_what_was_written(rest: dict[str, Any], steps: list[Any], indent: int) -> None:
    """Whatever stands in it, and however it is laid out."""
    document = {"steps": steps, **rest}
    for plain in (True, False):
        text = json.dumps(document, ensure_ascii=plain, indent=indent or None)
        assert document == read(text.encode())
        assert document == read(f" \n{text}\n ".encode())


@settings(max_examples=50)
@given(st.lists(VALUES, min_size=1), st.integers(0, 200))
def test_a_value_may_end_anywhere(steps: list[Any], size: int) -> None:
    """Also in the middle of a character of what is looked at first."""
    text = json.dumps({"steps": steps, "duration": 123456}, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_document, "_FIRST_LOOK", size + 1)
        assert {"steps": steps, "duration": 123456} == read(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"steps": [{"a": 1}', "expected `,` at byte 20 of 19"),
        ('{"steps": [{"a": 1]}', "at byte"),
        ('{"steps": [1] "a": 2}', "expected `,`"),
        ('{"steps": [1]} x', "something follows"),
        ('{"steps" [1]}', "expected `:`"),
        ("{1: 2}", "no name"),
        ('{"a": NaN}', "at byte 7"),
        ('{"a": "\\ud800"}', "at byte 7"),
        ('{"a": ' + "[" * 100_000, "too deep"),
        ('{"a": "' + "x" * 2 * LARGEST + '"}', "a value of more than 1 MiB"),
        ("", "at byte 1 of 0"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_place(text: str, said: str) -> None:
    """Cut off, malformed, too deep, too large."""
    with pytest.raises(JsonError) as error:
        read(text.encode())
    assert said in str(error.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    """A plan is UTF-8."""
    with pytest.raises(JsonError, match="UTF-8"):
        read(b'{"a": "\xff"}')


def test_another_document_than_an_object_is_told() -> None:
    """And is looked at to its end."""
    assert not Document(b" [1, 2] ", LARGEST).is_object
    with pytest.raises(JsonError):
        _ = Document(b"[1, 2", LARGEST).is_object
