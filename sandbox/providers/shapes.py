"""How a resource's properties and a cloud's API correspond: one table a type, read in both directions.

Encoding and decoding once gives a normal form: what means the same to the cloud (a default spelt out, an empty list, a
set in another order) is equal in it. Comparing normal forms shows neither false changes nor false drift.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    # Which properties are carried out, at every depth; None means all of them.
    Names: TypeAlias = "Mapping[str, Names] | None"

Properties = dict[str, Any]
UNKNOWN = object()
"""A value that is not known before the update."""


class Codec(Protocol):
    """A correspondence in both directions."""

    def encode(self, ours: Any) -> Any:
        """Return what the API takes."""

    def decode(self, theirs: Any) -> Any:
        """Return what the SDK calls it."""

    def names(self) -> Names:
        """Return what is carried out inside."""


@dataclass(frozen=True, slots=True)
class Value:
    """The same on both sides, but for how it is written; `written` and `read` are functions of a known value."""

    written: Callable[[Any], Any] | None = None
    read: Callable[[Any], Any] | None = None

    def encode(self, ours: Any) -> Any:
        """Return it as the API writes it."""
        return ours if self.written is None or ours is UNKNOWN else self.written(ours)

    def decode(self, theirs: Any) -> Any:
        """Return it as the SDK writes it."""
        return theirs if self.read is None or theirs is UNKNOWN else self.read(theirs)

    def names(self) -> Names:
        """Return that everything inside is carried out."""
        return None


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list. `counted`: CloudFront's form, with the number of items beside them; `ordered`: whether order matters."""

    item: Codec = field(default_factory=Value)
    counted: bool = False
    ordered: bool = True

    def encode(self, ours: Any) -> Any:
        """Return the list as the API takes it."""
        if ours is UNKNOWN:
            return ours
        items = [self.item.encode(one) for one in ours]
        return {"Quantity": len(items), "Items": items} if self.counted else items

    def decode(self, theirs: Any) -> Any:
        """Return the list; one whose order means nothing comes back sorted."""
        if theirs is UNKNOWN:
            return theirs
        items = [self.item.decode(one) for one in (theirs.get("Items", []) if self.counted else theirs)]
        return items if self.ordered else sorted(items, key=lambda one: json.dumps(one, sort_keys=True, default=repr))

    def names(self) -> Names:
        """Return what is carried out inside an item."""
        return self.item.names()


def set_of(item: Codec | None = None, *, counted: bool = False) -> ListOf:
    """Return the codec of a list whose order means nothing."""
    return ListOf(item or Value(), counted, ordered=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One property: what the API calls it, and what holds where the program is silent."""

    theirs: str
    codec: Codec = field(default_factory=Value)
    default: Any = None


@dataclass(frozen=True, slots=True)
class Shape:
    """An object. `local` are properties that only the provider knows: no cloud tells them back."""

    members: Mapping[str, Member]
    local: frozenset[str] = frozenset()
    after_encode: Callable[[Properties], Properties] | None = None
    before_decode: Callable[[Properties], Properties] | None = None

    def encode(self, ours: Any) -> Any:
        """Return the object as the API takes it, defaults included."""
        if ours is UNKNOWN:
            return ours
        theirs: Properties = {}
        for name, member in self.members.items():
            value = ours.get(name)
            value = member.default if value is None else value
            if value is not None:
                theirs[member.theirs] = member.codec.encode(value)
        return self.after_encode(theirs) if self.after_encode else theirs

    def decode(self, theirs: Any) -> Any:
        """Return the object as the SDK names it, without what is empty."""
        if theirs is UNKNOWN:
            return theirs
        theirs = self.before_decode(theirs) if self.before_decode else theirs
        ours: Properties = {}
        for name, member in self.members.items():
            if theirs.get(member.theirs) is None:
                continue
            value = member.codec.decode(theirs[member.theirs])
            if member.default is not None or not _says_nothing(value):
                ours[name] = value
        return ours

    def names(self) -> Names:
        """Return what is carried out inside."""
        return {name: member.codec.names() for name, member in self.members.items()}

    def normal(self, ours: Properties) -> Properties:
        """Return the normal form."""
        found: Properties = self.decode(self.encode(ours))
        return found


def _says_nothing(value: Any) -> bool:
    """Whether a value is as good as none. Zero is a value: an MX may have preference 0."""
    return value is False or value in ("", [], {})
