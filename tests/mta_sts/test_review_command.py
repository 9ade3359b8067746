"""`mta-sts review`: what it prints, when it fails, and what it says of what is no plan."""

from __future__ import annotations

import codecs
import json
import re
from datetime import UTC, datetime
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

import mta_sts
from mta_sts.cli import main
from mta_sts.review import plan as of_plan
from mta_sts.review.markdown import _escaped, to_markdown
from mta_sts.review.plan import PlanError, read_plan
from mta_sts.review.verdict import review
from mta_sts.review.writers import to_json, to_text
from tests.mta_sts.small_plans import DAY, DNS, OBJECT, document, plan, policy, step, usual

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta_sts.review.plan import Plan

PLANS = Path(__file__).parent / "plans"
SCHEMA = json.loads((Path(mta_sts.__file__).parent / "schemas" / "review.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
GITHUB_LIMIT = 65_536
SAFE = usual(new=policy("mx1.example.com", max_age=DAY), ids=("one", "two"))
DEGRADED = usual(hosts=(("mx1.example.com",), ("mx1.example.com", "mx2.example.com")))
UNSAFE = usual(new=policy("mx1.example.com", max_age=DAY))
UNSEEN = usual(new=policy("mx1.example.com", max_age=DAY), ids=("one", "two"))[1:]


def many(steps: list[dict[str, Any]], count: int, *, long: bool = False) -> list[dict[str, Any]]:
    """Return the same steps for many domains."""
    found = []
    for number in range(count):
        name = f"{'x' * 40}{number:04}.example" if long else f"d{number:04}.example"
        text = json.dumps(steps).replace("example.com", name)
        kinds = ("policy", "sts", "edge")
        for kind in kinds:
            text = text.replace(f'::{kind}"', f'::{kind}-{number}"')
        found += json.loads(text)
    return found


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(SAFE, (0, 0, 0, 0)), (DEGRADED, (1, 0, 0, 0)), (UNSEEN, (2, 2, 0, 0)), (UNSAFE, (1, 1, 1, 0))],
    ids=["safe", "degraded", "unknown", "unsafe"],
)
def test_exit_codes_and_where_the_line_is(
    tmp_path: Path, steps: list[dict[str, Any]], expected: tuple[int, ...]
) -> None:
    """`--fail-on` names the mildest verdict that fails."""
    file = tmp_path / "plan.json"
    file.write_bytes(document(steps))
    lines = ("degraded", "unknown", "unsafe", "never")
    assert expected == tuple(main(["review", str(file), "--fail-on", line]) for line in lines)
    assert expected[1] == main(["review", str(file)])


def test_the_json_document_is_as_documented() -> None:
    """Recorded plans and small ones, against the schema; every property is described or named by it."""
    plans = [read_plan(file.name, file.read_bytes()) for file in sorted(PLANS.glob("*.json"))]
    validator = Draft202012Validator(SCHEMA)
    for each in [*plans, *(plan(steps) for steps in (SAFE, DEGRADED, UNSAFE, UNSEEN))]:
        found = json.loads(to_json(review([each]), NOW))
        assert [] == [error.message for error in validator.iter_errors(found)]
        assert found["domains"]


def test_the_json_document_says_what_changes() -> None:
    """The numbers that other tools want."""
    (domain,) = json.loads(to_json(review([plan(SAFE)]), NOW))["domains"]
    assert ("safe", "enforce", 10 * DAY, DAY) == (
        domain["verdict"], domain["before"]["mode"], domain["before"]["max_age"], domain["after"]["max_age"],
    )  # fmt: skip
    assert ("one", "two") == (domain["before"]["id"], domain["after"]["id"])
    assert [None, 0.0, 0.0] == [moment["seconds"] for moment in domain["timeline"]]


def test_the_first_lines_of_a_comment_say_yes_or_no() -> None:
    """Verdict, why, and what to do instead with its date, before anything else."""
    mx = read_plan("plan", (PLANS / "mx-in-parallel.json").read_bytes())
    old, new = "mx1.example.com", "mx3.example.com"
    lines = to_markdown(review([mx]), NOW).splitlines()
    first, _, second, *_ = lines
    assert "**Unsafe: do not merge. mx-in-parallel.example.com: mail would be refused.**" == first
    assert "hold the policy that allows only mx1.example.com for up to 10 days" in second
    assert second.endswith(" `mx-not-in-held-policy`")
    assert [
        "**Instead**, an update for each step (dated from now; a late one puts off the rest):",
        "",
        f"1. Publish a policy that lists {old} and {new}, under a new id, and leave the MX records as they are.",
        f"2. From 2026-07-01 12:12 UTC: add {new} to DNS beside {old}.",
        f"3. From 2026-07-11 12:12 UTC: take {old} out of DNS.",
        f"4. From 2026-07-11 12:24 UTC: take {old} out of the policy, under a new id.",
    ] == lines[6:12]
    linked = to_markdown(review([mx]), NOW, "https://docs.invalid/review.md").splitlines()[2]
    assert linked.endswith(" [`mx-not-in-held-policy`](https://docs.invalid/review.md#mx-not-in-held-policy)")
    unknown = to_markdown(review([plan(UNSAFE, changeSummary={"same": 99})]), NOW)
    said = "Could not tell: do not merge on this review. example.com: the plan leaves out what stays the same"
    assert unknown.startswith(f"**{said}")
    safe = to_markdown(review([plan(SAFE)]), NOW)
    assert safe.startswith("**Safe to merge. No sender refuses mail to example.com, or loses the policy.**\n")
    assert "senders keep it 24 hours instead of 10 days" in safe.splitlines()[2]


def test_a_comment_shows_policy_and_time_line() -> None:
    """As a difference, as a diagram, and as a table."""
    text = to_markdown(review([plan(UNSAFE)]), NOW)
    assert "```diff" in text
    assert "- max_age: 864000\n+ max_age: 86400" in text
    assert "```mermaid\ntimeline\n    title Mail to example.com" in text
    assert "| at once | The new policy is served |" in text
    assert text.count("<details>") == text.count("</details>") > 1


def test_the_same_plan_gives_the_same_comment() -> None:
    """Whatever the order of the domains in it."""
    plans = [many(SAFE, 3), many(SAFE, 3)[::-1]]
    texts = {to_markdown(review([plan(steps)]), NOW) for steps in plans}
    assert 1 == len(texts)


@pytest.mark.parametrize("steps", [SAFE, UNSAFE, DEGRADED, UNSEEN], ids=["safe", "unsafe", "degraded", "unknown"])
def test_a_thousand_domains_fit_into_a_comment(steps: list[dict[str, Any]]) -> None:
    """By summing up; the worst are shown in full, and every domain is counted."""
    one_bad = usual(new=policy("mx9.other.test"), ids=("one", "two"))
    bad = json.loads(json.dumps(one_bad).replace("example.com", "zz-worst.example").replace('::sts"', '::sts-worst"'))
    text = to_markdown(review([plan([*many(steps, 1000, long=True), *bad])]), NOW)
    assert len(text) < GITHUB_LIMIT
    assert "1001 domains" in text
    assert "cut off" not in text
    if steps is not UNSAFE:
        assert "zz-worst.example: mail would be refused" in text.splitlines()[0]
        assert "### zz-worst.example: unsafe" in text


def test_a_remark_stands_at_the_top_of_every_form() -> None:
    """With its date, and its domain's section, though nothing changes."""
    steps = usual()
    steps[2]["oldState"]["protect"] = True
    found = review([plan(steps)])
    markdown, text = to_markdown(found, NOW).splitlines(), to_text(found, NOW)
    assert "Mind what stands below." in markdown[0]
    assert markdown[2].startswith("- example.com: Protection from deletion is lifted from sts.")
    assert "with max_age 86400 and a new id. From 2026-07-11 12:12 UTC: delete what is to go. `" in markdown[2]
    assert "### example.com: safe" in markdown
    assert "mind: Protection from deletion is lifted from sts." in text
    assert "From 2026-07-11 12:12 UTC: delete what is to go. [" in text
    (remark,) = json.loads(to_json(found, NOW))["domains"][0]["remarks"]
    assert [None, "2026-07-11T12:12+00:00"] == [act["from"] for act in remark["way_out"]]


def test_every_form_has_the_steps_of_the_way_out() -> None:
    """Text numbers them as the comment does, JSON has them with their dates."""
    mx = review([read_plan("plan", (PLANS / "mx-in-parallel.json").read_bytes())])
    assert "    3. From 2026-07-11 12:12 UTC: take mx1.example.com out of DNS.\n" in to_text(mx, NOW)
    steps = json.loads(to_json(mx, NOW))["domains"][0]["way_out"]
    assert [None, "2026-07-01T12:12+00:00", "2026-07-11T12:12+00:00", "2026-07-11T12:24+00:00"] == [
        step["from"] for step in steps
    ]


def test_of_several_domains_the_worst_one_has_its_steps_at_the_top() -> None:
    """Named there; every other has them in its section."""
    names = ("mx-in-parallel", "dropped-with-mx", "day-at-the-edge")
    found = review([read_plan(name, (PLANS / f"{name}.json").read_bytes()) for name in names])
    lines = to_markdown(found, NOW).splitlines()
    (top,) = (line for line in lines if line.startswith("**Instead at "))
    assert "**Instead at day-at-the-edge.example.com**" in top
    assert len(names) == sum(line.startswith("**Instead**") for line in lines)


HUGE = "x" * 70_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: plan([*UNSAFE, step(HUGE, "azure-native:network:RecordSet", {"n": "example.com"}, {"n": "x"})]),
        lambda: plan(usual(hosts=(("mx1.example.com",), ("mx1.example.com", f"{HUGE}.example")))),
        lambda: plan(usual(new={**policy("mx1.example.com"), "content": f"version: STSv1\n{HUGE}\n" * 20})),
        lambda: plan([*UNSAFE, step("odd", DNS, None, {"name": f"_mta-sts.{HUGE}.example", "type": "TXT"})]),
        lambda: plan(UNSAFE, diagnostics=[{"severity": "error", "message": f"{HUGE}\n" * 50}]),
        lambda: plan(
            UNSAFE,
            diagnostics=[
                {"severity": "warning", "message": f"warning: {name}: {number}{'@' * 5000} [mx-kept]"}
                for number in range(200)
                for name in ("example.com", "other.example")
            ],
        ),
        lambda: plan(
            [step(f"p{n}", DNS, {"name": HUGE, "type": "\x04"}, {"name": f"{n}"}) for n in range(99)] + UNSAFE
        ),
    ],
    ids=["name", "MX host", "policy", "domain", "error", "warnings", "records"],
)
def test_nothing_of_a_plan_makes_a_comment_too_long_or_half(make: Callable[[], Plan]) -> None:
    """The verdict comes first whatever is in it, and everything that opens is closed."""
    text = to_markdown(review([make(), plan(UNSAFE)]), NOW)
    assert re.match(r"\*\*(Unsafe|Could not tell): do not merge", text)
    assert len(text) < GITHUB_LIMIT
    assert text.count("<details>") == text.count("</details>")
    assert 0 == len(re.findall(r"^```", text, flags=re.MULTILINE)) % 2
    assert HUGE not in text


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("ask @octocat", "@o"),
        ("tls@example.com", "@e"),
        ("see #1 or o/r#2", "#1"),
        ("GH-12", "GH-1"),
        ("gh-12", "gh-1"),
        ("www.example.com", "www."),
        ("https://example.com", "https:"),
        ("HTTPS://example.com", "://"),
        ("mailto:x", "mailto:"),
        ("&#64;octocat", "&#64;"),
    ],
)
def test_github_finds_nothing_to_link(text: str, never: str) -> None:
    """It looks in the text that it shows, so that an entity or a backslash would not do: a character stands between."""
    shown = re.sub(r"\\(.)", r"\1", _escaped(text))
    assert text == shown.replace("\N{ZERO WIDTH SPACE}", "")
    assert never not in shown


@pytest.mark.parametrize("text", ["_a_", "__a__", "*a*", "~~a~~", "$a$", "&lt;b&gt;", "[a](b)", "a|b", "<b>"])
def test_what_means_something_in_markdown_is_escaped(text: str) -> None:
    """Each such character has its backslash; an underscore within a word needs none."""
    escaped = _escaped(text)
    assert text == re.sub(r"\\(.)", r"\1", escaped)
    assert not re.search(r"(?<!\\)[*~$&<>|\[\]]|(?<![\\a-z])_", escaped)


def test_what_a_plan_holds_never_becomes_markup() -> None:
    """Names and texts are the pull request's: no mention, link, image, table, diagram or fence comes out of them."""
    evil = "a|b](http://x) @team <img src=x> ```\n```"
    steps = usual(policy("mx1.example.com"), {**policy("mx1.example.com"), "content": f"version: STSv1\n{evil}\n"})
    steps.append(step("mx-evil", DNS, None, {"name": "example.com", "type": "MX", "content": "x|@y`<b>"}))
    steps.append(step("odd", DNS, None, {"name": "_mta-sts.@team|x.example", "type": "TXT", "content": '"`"'}))
    text = to_markdown(review([plan(steps)]), NOW)
    prose = "\n".join(part for place, part in enumerate(text.split("````")) if place % 2 == 0)
    assert "@team" not in prose
    assert "<img" not in prose
    assert "](http" not in prose.replace("\\]", "")
    assert "x|" not in prose.replace("\\|", "")


@pytest.mark.parametrize(
    "text", ["```<img src=x>`", "`<img>", "``<img>` `", "` `` <img> `` ` ``` <img>", "``<img>``<img>`"]
)
def test_no_backticks_open_a_way_for_markup(text: str) -> None:
    """What stands outside of code is escaped, however the backticks pair: only single ones are left, in pairs."""
    escaped = _escaped(text)
    assert "``" not in escaped
    outside = "".join(part for place, part in enumerate(escaped.split("`")) if place % 2 == 0)
    assert 0 == escaped.count("`") % 2
    assert "<" not in outside.replace("\\<", "")


def test_a_terminal_is_not_steered() -> None:
    """An escape character in a name is shown as one that can't be printed."""
    steps = usual(hosts=(("mx1.example.com",), ("mx1.example.com", "\x1b[2Jmx")))
    assert "\x1b" not in to_text(review([plan(steps)]), NOW)


def test_a_secret_is_never_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither as Pulumi masks it, nor encrypted, nor in plain text, nor in the configuration."""
    marked = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": '"hush-one"'}
    steps = usual(new=policy("mx1.example.com", max_age=DAY), ids=("one", "two"))
    steps[2]["newState"]["inputs"]["content"] = marked
    steps[1]["newState"]["inputs"]["metadata"] = marked | {"ciphertext": "hush-two"}
    file = tmp_path / "plan.json"
    file.write_bytes(document(steps, config={"project:token": "hush-three"}))
    for form in ("text", "markdown", "json"):
        assert 2 == main(["review", str(file), "--format", form])
        printed = capsys.readouterr()
        assert "hush" not in printed.out + printed.err
        assert "is secret" in printed.out


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (document(SAFE).decode().encode("utf-16"), "is UTF-16"),
        (b"Previewing update (prod)\n", "is not JSON"),
        (document(SAFE)[:-20], "is not JSON, or cut off"),
        (b"[]", "no plan of Pulumi's"),
        (b'{"format_version": "1.2", "terraform_version": "1.9", "resource_changes": []}', "a Terraform plan"),
        (b'{"version": 3, "deployment": {}}', "a stack's exported state"),
        (b'{"Resources": {}}', "a CloudFormation template"),
        (b'{"version": 2, "steps": []}', "a version that is not known"),
        (b'{"steps": [{"operation": "same"}]}', "step 1 has no `op` and `urn`"),
        (b'{"sequence": 0, "timestamp": 1, "preludeEvent": {}}\n{"sequence": 1, "time', "line 2, is not JSON"),
    ],
)
def test_what_is_no_plan_is_named_and_never_safe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, said: str
) -> None:
    """In the comment as well as on standard error, with what to give instead."""
    file = tmp_path / "plan.json"
    file.write_bytes(data)
    assert 2 == main(["review", str(file), "--format", "markdown"])
    printed = capsys.readouterr()
    assert said in printed.err
    assert "pulumi preview --json --show-sames" in printed.err
    assert printed.out.startswith("**Could not tell: do not merge on this review.")
    # Neither does it pass as something milder than unsafe.
    assert (2, 0) == tuple(main(["review", str(file), "--fail-on", line]) for line in ("unsafe", "never"))


def test_a_byte_order_mark_is_no_harm() -> None:
    """PowerShell writes one before UTF-8."""
    assert "safe" == review([read_plan("plan", codecs.BOM_UTF8 + document(SAFE))]).grade


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": []}, "did not sum up"),
        ({"steps": [], "changeSummary": None}, "did not sum up"),
        ({"config": {}}, "did not sum up"),
        ({"duration": 1}, "did not sum up"),
        ({"steps": SAFE}, "did not sum up"),
        ({"changeSummary": {"update": 1}}, "of 1 update steps that Pulumi counts the plan shows 0"),
        ({"steps": SAFE, "changeSummary": {"same": 2, "update": 2, "delete": 3}}, "of 3 delete steps"),
        ({"steps": [], "changeSummary": {"create": "x"}}, "of x create steps"),
        ({"steps": SAFE, "changeSummary": {"same": 2}, "maybeCorrupt": True}, "may be corrupt"),
        ({"steps": [], "planned_values": {}, "format_version": "1"}, "a Terraform plan"),
    ],
)
def test_a_plan_that_is_not_whole_is_never_safe(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    """One that was stopped is as well-formed as one that was not: the engine sums up last."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(given), encoding="utf-8")
    assert 2 == main(["review", str(file), "--output", str(tmp_path / "review.txt")])
    assert said in (tmp_path / "review.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("op", "lost"), [("update", "oldState"), ("same", "oldState"), ("update", "newState")])
def test_a_state_that_its_operation_implies_may_not_be_missing(op: str, lost: str) -> None:
    """A change without what was before would read as something new."""
    steps = json.loads(json.dumps(SAFE))
    step = next(each for each in steps if each["op"] == op)
    del step[lost]
    found = review([plan(steps)])
    assert "unknown" == found.grade
    assert f"the state of {step['urn'].rpartition('::')[2]}" in found.problems[0]


@pytest.mark.parametrize("how", ["as one step", "as those that it takes"])
def test_a_replacement_counts_as_one(how: str) -> None:
    """However the plan was recorded; what is read only is counted and not shown."""
    old = policy("mx1.example.com")
    ops = ["replace"] if how == "as one step" else ["create-replacement", "replace", "delete-replaced"]
    steps = [step("policy", OBJECT, old, old, op=op) for op in ops]
    summary = {"same": 0, "replace": 1, "read": 7}
    assert [] == plan(steps, changeSummary=summary).failed
    assert plan(steps, changeSummary=summary | {"replace": 2}).failed


def test_what_changes_too_much_to_be_held_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays the same, and is not read, takes no room."""
    monkeypatch.setattr(of_plan, "MOST_CHANGED", 100)
    values = {"a": list(range(500))}
    assert read_plan("plan.json", document([step("k", "aws:kms/key:Key", values, values)])).steps
    with pytest.raises(PlanError, match="split the stack"):
        read_plan("plan.json", document([step("k", "aws:kms/key:Key", values, values | {"b": 1})]))


def test_a_stream_that_ends_too_early_is_unknown() -> None:
    """The engine's summary is missing."""
    found = review([read_plan("plan", b'{"sequence": 0, "timestamp": 1, "preludeEvent": {"config": {}}}\n')])
    assert "unknown" == found.grade
    assert "cut off" in found.problems[0]


def test_the_log_of_an_update_is_no_plan() -> None:
    """What has happened can't be reviewed any more."""
    line = b'{"sequence": 0, "timestamp": 1, "summaryEvent": {"isPreview": false, "result": "succeeded"}}'
    with pytest.raises(PlanError, match="has run"):
        read_plan("events", line)


def test_an_operation_that_is_not_known_is_not_guessed() -> None:
    """A later engine may have more."""
    steps = [*SAFE, step("new", OBJECT, policy("mx1.example.com"), policy("mx1.example.com"), op="teleport")]
    found = review([plan(steps)])
    assert "unknown" == found.grade
    assert "teleport" in found.problems[0]


def test_a_plan_may_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before it is parsed."""
    monkeypatch.setattr(of_plan, "LARGEST_PLAN", 10)
    with pytest.raises(PlanError, match="split the stack"):
        read_plan("plan.json", document(SAFE))


def test_standard_input_and_several_stacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One review of all of them; the worst decides."""
    file = tmp_path / "plan.json"
    other = document(SAFE).replace(b"example.com", b"other.example").replace(b":test::", b":other::")
    file.write_bytes(document(UNSAFE))
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(other)))
    assert 1 == main(["review", str(file), "-", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"example.com": "unsafe", "other.example": "safe"} == {
        one["domain"]: one["verdict"] for one in found["domains"]
    }


def test_a_wrong_call_is_64(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, standard input twice, one stack twice, a file that can't be written."""
    file = tmp_path / "plan.json"
    file.write_bytes(document(SAFE))
    assert 64 == main(["review", str(tmp_path / "absent.json")])
    assert 64 == main(["review", "-", "-"])
    assert 64 == main(["review", str(file), str(file)])
    assert 64 == main(["review", str(file), "--output", str(tmp_path / "no" / "folder")])
    assert "No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["review", str(file), "--fail-on", "sometimes"])
    assert 64 == end.value.code


def test_a_file_asset_is_read_only_where_it_is_the_one_that_the_plan_means(tmp_path: Path) -> None:
    """By its hash: a plan can't make a review print another file."""
    secret = tmp_path / "secret"
    secret.write_text("version: STSv1\nhush\n", encoding="utf-8")
    asset = {
        "4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17",
        "path": str(secret),
        "hash": "0" * 64,
    }
    steps = usual(new={"bucket": "policies", "key": "example.com/.well-known/mta-sts.txt", "source": asset})
    found = review([plan(steps)])
    assert "unknown" == found.grade
    assert "has changed since" in found.domains[0].reasons[0].text
    assert "hush" not in to_json(found, NOW)


def test_a_file_asset_without_a_hash_is_not_read(tmp_path: Path) -> None:
    """The engine always writes one: what has none was not written by it."""
    secret = tmp_path / "secret"
    secret.write_text("version: STSv1\nhush\n", encoding="utf-8")
    asset = {"4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17", "path": str(secret)}
    found = review([plan(usual(new=policy("mx1.example.com") | {"content": None, "source": asset}))])
    assert "unknown" == found.grade
    assert "hash" in found.domains[0].reasons[0].text
    assert "hush" not in to_json(found, NOW)


def test_a_secret_zone_gives_no_domain_its_name() -> None:
    """A relative name in a zone whose id is secret is no name."""
    zone = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "hush"}
    records = [{"name": "@", "type": "MX", "content": host, "zoneId": zone} for host in ("a.example", "b.example")]
    found = review([plan([step("mx", DNS, *records)])])
    assert ("unknown", []) == (found.grade, found.domains)
    for write in (to_json, to_text, to_markdown):
        assert "hush" not in write(found, NOW)
        assert "4dabf" not in write(found, NOW)


def test_output_goes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole, and nothing on standard output."""
    file, out = tmp_path / "plan.json", tmp_path / "review.md"
    file.write_bytes(document(SAFE))
    assert 0 == main(["review", str(file), "--format", "markdown", "-o", str(out)])
    assert out.read_text(encoding="utf-8").startswith("**Safe to merge.")
    assert "" == capsys.readouterr().out


def test_nothing_about_mail_is_said_so() -> None:
    """A complete plan of other things is safe for senders."""
    other = step("bucket", "aws:s3/bucket:Bucket", {"bucket": "a"}, {"bucket": "b"})
    assert "Nothing in the plan is about MTA-STS" in to_text(review([plan([other])]), NOW)
    partial = review([plan([other], changeSummary={"same": 5})])
    assert "unknown" == partial.grade
