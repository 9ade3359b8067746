"""A stack file edited in one place: what people wrote around it stays as it is, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mta_sts.stack_file import DOMAINS, StackFileError, declared_domains, read_stack, set_mode

STACKS = sorted((Path(__file__).parents[2] / "stacks").glob("Pulumi.*.yaml"))
STACK = """\
# Production.
config:
  aws:region: eu-west-1   # Ireland
  mta-sts:domains:
    - domain: 'example.com' # ours
      # Not to be changed without asking mail@
      mx: [mx1.example.com,   mx2.example.com]
    - {domain: example.net, mx: [mx.example.net]}
    - mx:
        - mx.example.org
      mode:   "testing"  # since March
      domain: example.org
"""


@pytest.mark.parametrize(
    ("index", "before", "after"),
    [
        (0, "    - domain: 'example.com' # ours\n", "    - domain: 'example.com' # ours\n      mode: enforce\n"),
        (1, "{domain: example.net, mx", "{domain: example.net, mode: enforce, mx"),
        (2, 'mode:   "testing"  # since March', "mode:   enforce  # since March"),
    ],
    ids=["no mode", "in one line", "mode in quotes"],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_only_the_mode_is_written(index: int, before: str, after: str, line_end: str) -> None:
    """Comments, blanks, quotes and line ends of everything else stay."""
    text = STACK.replace("\n", line_end)
    assert STACK.replace(before, after).replace("\n", line_end) == set_mode(text, index, "enforce")


def test_the_last_line_needs_no_line_end() -> None:
    """A file that ends right behind the name."""
    text = f"config:\n  {DOMAINS}:\n  - domain: example.com"
    assert f"{text}\n    mode: enforce" == set_mode(text, 0, "enforce")


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.name)
def test_committed_stacks_can_be_edited(path: Path) -> None:
    """Each domain of each stack, with every other line kept."""
    text = path.read_text(encoding="utf-8")
    for index in range(len(declared_domains(text))):
        changed = set_mode(text, index, "enforce")
        assert "enforce" == declared_domains(changed)[index]["mode"]
        kept = [line for line in text.splitlines() if "mode:" not in line]
        assert kept == [line for line in changed.splitlines() if "mode:" not in line]


@pytest.mark.parametrize(
    "domains",
    [
        "    - {domain: a.example, mode: &m testing}\n    - {domain: b.example, mode: *m}\n",
        "    - &a {domain: a.example, mode: testing}\n    - *a\n",
    ],
    ids=["a shared mode", "the same domain"],
)
def test_what_is_shared_is_left_to_people(domains: str) -> None:
    """An anchor that other domains use is never changed under them."""
    with pytest.raises(StackFileError, match="by hand"):
        set_mode(f"config:\n  {DOMAINS}:\n{domains}", 1, "enforce")


def test_a_mode_of_its_own_overrides_a_shared_default() -> None:
    """What merges in stays as it is for the others."""
    text = f"d: &d {{mode: testing}}\nconfig:\n  {DOMAINS}:\n    - domain: a.example\n      <<: *d\n    - <<: *d\n"
    assert ["enforce", "testing"] == [each["mode"] for each in declared_domains(set_mode(text, 0, "enforce"))]


def test_without_a_name_of_its_own_the_mode_comes_first() -> None:
    """In one line as well."""
    text = f"d: &d {{domain: a.example}}\nconfig:\n  {DOMAINS}:\n    - <<: *d\n    - {{mx: [a.example], <<: *d}}\n"
    assert text.replace("- <<", "- mode: enforce\n      <<") == set_mode(text, 0, "enforce")
    assert text.replace("{mx", "{mode: enforce, mx") == set_mode(text, 1, "enforce")


@pytest.mark.parametrize("text", ["", "config: {}", "config: [", f"config: {{{DOMAINS}: x}}", "a: 1\n---\nb: 2\n", "7"])
def test_what_is_no_stack_file_is_said(text: str) -> None:
    """Empty, without domains, no YAML, two documents."""
    with pytest.raises(StackFileError, match=DOMAINS):
        declared_domains(text)


names = st.text(min_size=1, max_size=8)
settings = st.dictionaries(names, st.none() | st.integers() | st.text() | st.lists(names, max_size=3), max_size=3)


@given(st.lists(settings, min_size=1, max_size=4), st.data(), st.sampled_from([None, True, False]), st.integers(1, 6))
def test_any_list_of_domains_is_edited_or_refused(
    domains: list[dict[str, object]], data: st.DataObject, flow: bool | None, indent: int
) -> None:
    """Whatever YAML writes them like: the one mode is set, and nothing else means another thing."""
    document = {"config": {DOMAINS: [{**each, "domain": f"d{place}.example"} for place, each in enumerate(domains)]}}
    text = yaml.safe_dump(document, default_flow_style=flow, indent=indent, allow_unicode=data.draw(st.booleans()))
    index = data.draw(st.integers(0, len(domains) - 1))
    changed = set_mode(text, index, "enforce")
    wanted = yaml.safe_load(text)
    wanted["config"][DOMAINS][index]["mode"] = "enforce"
    assert wanted == yaml.safe_load(changed)


@pytest.mark.parametrize("content", [b"\xff", b"[1", b"", b"config: {}", b"config: {mta-sts:domains: x}"])
def test_a_file_that_declares_nothing_is_named(tmp_path: Path, content: bytes) -> None:
    """In one line, whatever the parser says."""
    file = tmp_path / "Pulumi.x.yaml"
    file.write_bytes(content)
    with pytest.raises(StackFileError) as refused:
        read_stack(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)
