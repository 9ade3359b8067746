"""What the official SDK's own classes say of a resource: its inputs at every depth, and its outputs."""

from __future__ import annotations

import collections.abc
import difflib
import inspect
import sys
import types
import typing
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pulumi

# The SDK reads its own classes with these; nothing public does.
from pulumi._types import (
    input_type_py_to_pulumi_names,
    input_type_types,
    is_input_type,
    resource_py_to_pulumi_names,
    resource_types,
)

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandbox.providers.shapes import Names

_EMPTY: dict[Any, Any] = {str: "", bool: False, int: 0, float: 0}


_LIGHT: set[str] = set()


def load_lightly(package: str) -> None:
    """Let modules of a package be imported without the `__init__` of the packages around them, which import the rest.

    Only for a process that does nothing else with that package: `pulumi_cloudflare` whole takes two seconds.
    """
    _LIGHT.add(package)


def _module(sdk: SdkType) -> Any:
    parts = sdk.module.split(".")
    parents = [".".join(parts[:length]) for length in range(1, len(parts))]
    if parts[0] not in _LIGHT:
        # As a whole: a module alone would leave the SDK's lazily loaded package without its classes.
        getattr(import_module(parents[-1]), sdk.name)
    for parent in parents:
        if parent not in sys.modules and (spec := find_spec(parent)) is not None:
            bare = types.ModuleType(parent)
            bare.__path__ = list(spec.submodule_search_locations or [])
            sys.modules[parent] = bare
    return import_module(sdk.module)


@dataclass(frozen=True, slots=True)
class SdkType:
    """A resource class of an SDK, such as `Bucket` in `pulumi_aws.s3.bucket`."""

    module: str
    name: str

    def inputs(self) -> Mapping[str, Any]:
        """Return the type of each input, by its name on the wire."""
        return input_type_types(_arguments(self))

    def outputs(self) -> Mapping[str, Any]:
        """Return the type of each output, by its name on the wire."""
        return _outputs(self)

    def decided(self) -> frozenset[str]:
        """Return the outputs that always have a value: where the program gives none, the cloud decides."""
        return _decided(self)

    def empty(self, output: str) -> Any:
        """Return what an output holds that the cloud leaves empty."""
        kind = self.outputs()[output]
        if typing.get_origin(kind) is collections.abc.Sequence:
            return []
        return _EMPTY.get(kind, {})

    def problems(self, given: Mapping[str, Any], carried_out: Names) -> list[tuple[str, str]]:
        """Return (path, reason) for each property that the SDK does not know or misses, or that we don't carry out."""
        return list(_problems(_arguments(self), given, "", carried_out))


@cache
def _arguments(sdk: SdkType) -> type:
    module = _module(sdk)
    # The SDK calls it InitArgs where a nested type has the plain name already.
    found: type = getattr(module, f"{sdk.name}InitArgs", None) or getattr(module, f"{sdk.name}Args")
    return found


@cache
def _outputs(sdk: SdkType) -> Mapping[str, Any]:
    return resource_types(getattr(_module(sdk), sdk.name))


@cache
def _decided(sdk: SdkType) -> frozenset[str]:
    resource = getattr(_module(sdk), sdk.name)
    wire = resource_py_to_pulumi_names(resource)
    return frozenset(
        wire[name]
        for name, member in vars(resource).items()
        if isinstance(member, property) and "Optional[" not in str(member.fget.__annotations__["return"])
    )


def _problems(arguments: type, given: Mapping[str, Any], path: str, carried_out: Names) -> Iterator[tuple[str, str]]:
    known = input_type_types(arguments)
    for name, value in given.items():
        here = f"{path}.{name}" if path else name
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield here, f"{arguments.__name__} of the SDK has no property {name!r}{hint}"
        elif carried_out is not None and name not in carried_out:
            yield here, f"the sandbox does not carry out {name!r}; it would be ignored here, not at the real provider"
        else:
            yield from _nested(known[name], value, here, None if carried_out is None else carried_out[name])
    names = input_type_py_to_pulumi_names(arguments)
    for parameter in inspect.signature(arguments).parameters.values():
        wire = names.get(parameter.name, "")
        if wire and parameter.default is inspect.Parameter.empty and given.get(wire) is None:
            yield f"{path}.{wire}" if path else wire, f"{arguments.__name__} of the SDK needs {wire!r}"


def _nested(expected: Any, value: Any, path: str, carried_out: Names) -> Iterator[tuple[str, str]]:
    """Go into objects and lists of objects; what is not known yet is let pass."""
    union = typing.get_args(expected) if typing.get_origin(expected) is typing.Union else (expected,)
    options = [option for option in union if typing.get_origin(option) is not pulumi.Output]
    structured = [option for option in options if _is_object(option) or _is_list(option)]
    for option in structured:
        if _is_object(option) and isinstance(value, dict):
            yield from _problems(option, value, path, carried_out)
            return
        if _is_list(option) and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _nested(typing.get_args(option)[0], item, f"{path}[{index}]", carried_out)
            return
    if len(structured) == len(options) and isinstance(value, dict | list | str | int | float):
        wanted = "a list" if _is_list(options[0]) else f"an object ({options[0].__name__})"
        yield path, f"the SDK wants {wanted}, got {value!r}"


def _is_object(option: Any) -> bool:
    return isinstance(option, type) and is_input_type(option)


def _is_list(option: Any) -> bool:
    return typing.get_origin(option) is collections.abc.Sequence
