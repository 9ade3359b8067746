"""What the official SDK's own classes say of a resource: its inputs at every depth, and its outputs."""

from __future__ import annotations

import collections.abc
import inspect
import typing
from dataclasses import dataclass
from importlib import import_module
from typing import Any

# The SDK reads its own classes with these; nothing public does.
from pulumi._types import input_type_types, is_input_type, resource_types


@dataclass(frozen=True, slots=True)
class SdkType:
    """A resource class of an SDK, such as `pulumi_aws.s3.bucket:Bucket`."""

    module: str
    name: str

    @property
    def arguments(self) -> type:
        """The class of its inputs."""
        module = import_module(self.module)
        # The SDK calls it InitArgs where a nested type has the plain name already.
        found: type = getattr(module, f"{self.name}InitArgs", None) or getattr(module, f"{self.name}Args")
        return found

    @property
    def outputs(self) -> set[str]:
        """The names of its outputs, as on the wire."""
        return set(resource_types(getattr(import_module(self.module), self.name)))

    def problems(self, inputs: collections.abc.Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (path, reason) for every property that the SDK does not know or misses, at any depth."""
        return list(_problems(self.arguments, inputs, ""))


def _problems(
    arguments: type, inputs: collections.abc.Mapping[str, Any], path: str
) -> collections.abc.Iterator[tuple[str, str]]:
    known = input_type_types(arguments)
    for name, value in inputs.items():
        here = f"{path}.{name}" if path else name
        if name not in known:
            yield here, f"{arguments.__name__} has no property {name!r}"
        else:
            yield from _nested(known[name], value, here)
    for name in _required(arguments):
        if inputs.get(name) is None:
            here = f"{path}.{name}" if path else name
            yield here, f"{arguments.__name__} needs {name!r}"


def _nested(expected: Any, value: Any, path: str) -> collections.abc.Iterator[tuple[str, str]]:
    """Go into objects and lists of objects; what is not known yet is let pass."""
    options = typing.get_args(expected) if typing.get_origin(expected) is typing.Union else (expected,)
    for option in options:
        if isinstance(option, type) and is_input_type(option) and isinstance(value, dict):
            yield from _problems(option, value, path)
        elif typing.get_origin(option) is collections.abc.Sequence and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _nested(typing.get_args(option)[0], item, f"{path}[{index}]")


def _required(arguments: type) -> list[str]:
    """Return the wire names of the inputs that have no default."""
    from pulumi._types import input_type_py_to_pulumi_names  # noqa: PLC0415

    names = input_type_py_to_pulumi_names(arguments)
    parameters = inspect.signature(arguments).parameters.values()
    return [names[p.name] for p in parameters if p.name in names and p.default is inspect.Parameter.empty]
