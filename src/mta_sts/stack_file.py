"""One setting of a stack file changed, and every other byte left alone: comments, order and quotes are people's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DOMAINS = "mta-sts:domains"
"""The key of the stack's configuration that lists its domains."""


class StackFileError(ValueError):
    """A stack file that can't be read or safely changed; the message says why, and what to do by hand."""


def stack_file(stack: str) -> Path:
    """Return a stack's file, by the stack's name or its own."""
    return Path(stack) if stack.endswith((".yaml", ".yml")) else Path("stacks") / f"Pulumi.{stack}.yaml"


def declared_domains(text: str) -> list[Any]:
    """Return the domains that a stack file declares; raises StackFileError."""
    try:
        domains = yaml.safe_load(text)["config"][DOMAINS]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise StackFileError(f"no stack file with config, {DOMAINS} ({error})") from error
    if not isinstance(domains, list):
        raise StackFileError(f"{DOMAINS} is no list of domains")
    return domains


def read_stack(file: Path) -> tuple[str, list[Any]]:
    """Return a stack file's text, its line ends as they are, and the domains that it declares.

    Raises OSError, or StackFileError that names the file.
    """
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            text = opened.read()
        return text, declared_domains(text)
    except ValueError as error:
        raise StackFileError(f"{file}: {' '.join(str(error).split())}") from error


def set_mode(text: str, index: int, mode: str) -> str:
    """Return a stack file's text with the mode of the domain at `index` changed or added, and nothing else.

    Raises StackFileError where that can't be done without touching another setting, such as a shared anchor.
    """
    domain = _domain_node(text, index)
    fields = {key.value: (key, value) for key, value in domain.value}
    line_end = "\r\n" if "\r\n" in text else "\n"
    if "mode" in fields:
        mark = fields["mode"][1]
        changed = text[: mark.start_mark.index] + mode + text[mark.end_mark.index :]
    elif "domain" in fields:
        key, value = fields["domain"]
        end = value.end_mark.index
        separator = ", " if domain.flow_style else f"{line_end}{' ' * key.start_mark.column}"
        if not domain.flow_style:
            # A comment behind the name stays on its line.
            end = next((place for place in range(end, len(text)) if text[place] in "\r\n"), len(text))
        changed = f"{text[:end]}{separator}mode: {mode}{text[end:]}"
    else:
        # The name comes from an anchor; what this domain has of its own begins with its first key.
        place = domain.value[0][0].start_mark
        separator = ", " if domain.flow_style else f"{line_end}{' ' * place.column}"
        changed = f"{text[: place.index]}mode: {mode}{separator}{text[place.index :]}"
    wanted = yaml.safe_load(text)
    # A new mapping: in what was loaded, an anchor and its alias are one object.
    wanted["config"][DOMAINS][index] = {**wanted["config"][DOMAINS][index], "mode": mode}
    try:
        got = yaml.safe_load(changed)
    except yaml.YAMLError:
        got = None
    if got != wanted:
        raise StackFileError(f"`mode` shares its place with another setting; write `mode: {mode}` there by hand")
    return changed


def _domain_node(text: str, index: int) -> yaml.MappingNode:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in ("config", DOMAINS):
        node = next(value for name, value in node.value if name.value == key)
    found: yaml.MappingNode = node.value[index]
    return found
