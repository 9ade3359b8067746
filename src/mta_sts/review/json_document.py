"""One JSON document, read a value at a time: a large one never stands in memory as objects."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = re.compile(rb"[ \t\n\r]*")
_FIRST_LOOK = 2**16
"""Bytes; longer values are looked at again with four times as many."""


class JsonError(ValueError):
    """The document is not JSON, is cut off, or has a value that is too large; the message says where."""


class Document:
    """A JSON document whose members, and the elements of one of them, are read one by one."""

    EMPTY: Final = object()
    """What stands for the elements of an array that has none."""

    def __init__(self, data: bytes, largest: int) -> None:
        """Read `data`, and refuse values of more than `largest` bytes."""
        self._data = data
        self._largest = largest
        self._at = 0
        self.parts = 0
        """How many parts the value has that was read last, counted by its commas."""
        self._decoder = json.JSONDecoder()

    @property
    def is_object(self) -> bool:
        """Whether it is an object; raises JsonError where it is no JSON at all."""
        if self._next() == b"{":
            return True
        self._value()
        self._end()
        return False

    def members(self, each_of: str) -> Iterator[tuple[str, Any]]:
        """Yield every member of the object by name; that of one name, where it is an array, element by element.

        An empty array is yielded as EMPTY. Raises JsonError.
        """
        self._take(b"{")
        if not self._taken(b"}"):
            while True:
                name = self._value()
                if not isinstance(name, str):
                    raise self._error("a member has no name")
                self._take(b":")
                if name == each_of and self._next() == b"[":
                    yield from ((name, element) for element in self._elements())
                else:
                    yield name, self._value()
                if self._taken(b"}"):
                    break
                self._take(b",")
        self._end()

    def _elements(self) -> Iterator[Any]:
        self._take(b"[")
        if self._taken(b"]"):
            yield self.EMPTY
            return
        while True:
            yield self._value()
            if self._taken(b"]"):
                return
            self._take(b",")

    def _next(self) -> bytes:
        space = _SPACE.match(self._data, self._at)
        self._at = space.end() if space else self._at
        return self._data[self._at : self._at + 1]

    def _taken(self, mark: bytes) -> bool:
        there = self._next() == mark
        self._at += there
        return there

    def _take(self, mark: bytes) -> None:
        if not self._taken(mark):
            raise self._error(f"expected `{mark.decode()}`")

    def _end(self) -> None:
        if self._next():
            raise self._error("something follows the document")

    def _error(self, what: str) -> JsonError:
        return JsonError(f"{what} at byte {self._at + 1:,} of {len(self._data):,}")

    def _value(self) -> Any:
        """Return the value that begins here, and go behind it; raises JsonError."""
        import orjson  # noqa: PLC0415  not for --help

        self._next()
        end = self._at + self._length()
        text = self._data[self._at : end]
        try:
            # Stricter than the look for the end: no NaN, no half of a surrogate pair.
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise self._error(str(error)) from error
        self._at, self.parts = end, text.count(b",")
        return value

    def _length(self) -> int:
        """Return how many bytes the value that begins here has."""
        size = _FIRST_LOOK
        while True:
            piece = self._data[self._at : self._at + size]
            whole = self._at + size >= len(self._data)
            try:
                text, _ = codecs.utf_8_decode(piece, "strict", whole)
                _, end = self._decoder.raw_decode(text)
            except RecursionError:
                raise self._error("values stand in each other too deep") from None
            except UnicodeDecodeError as error:
                raise self._error(f"no UTF-8 ({error.reason})") from error
            except ValueError as error:
                if whole:
                    raise self._error(getattr(error, "msg", str(error))) from error
            else:
                # A number may go on behind the piece; two characters of it may stand here (`1e-`).
                if whole or end + 2 < len(text):
                    return end if text.isascii() else len(text[:end].encode())
            if size >= self._largest:
                raise self._error(f"a value of more than {self._largest // 2**20} MiB")
            size *= 4
