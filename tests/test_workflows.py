"""The workflows and actions: least rights, nothing that can move under us, and scripts that do what they should."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi_mta_sts.permissions import policy

from sandbox.engine import VERSION, EngineError, find_engine, go_at_hand

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
ACTIONS = sorted(GITHUB.glob("actions/*/action.yml"))
FILES = [*WORKFLOWS, *ACTIONS]
PERMISSIONS = ROOT / "docs" / "ci-permissions.md"


def load(path: Path) -> dict[Any, Any]:
    """Return a workflow or an action."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    """Return every step in a file."""
    document = load(path)
    lists = [document["runs"]] if "runs" in document else document["jobs"].values()
    return [step for one in lists for step in one.get("steps", [])]


def script(name: str, step: str) -> str:
    """Return the script of a step of an action or a workflow."""
    (path,) = [path for path in FILES if name in (path.stem, path.parent.name)]
    (found,) = [each["run"] for each in steps(path) if each.get("name") == step]
    return found


def ids(paths: list[Path]) -> list[str]:
    """Return short names for pytest."""
    return [path.parent.name if path.stem == "action" else path.stem for path in paths]


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_actions_of_others_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved to other code; the comment says which version the commit is."""
    for line in path.read_text(encoding="utf-8").splitlines():
        uses = re.search(r"uses: (\S+)(.*)", line)
        if uses and not uses[1].startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", uses[1]), line
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", uses[2]), line


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_no_expression_stands_in_a_script(path: Path) -> None:
    """What comes from outside reaches a script as a variable, never as a part of it."""
    assert [] == [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=ids(WORKFLOWS))
def test_each_job_has_the_rights_that_it_needs(path: Path) -> None:
    """None by default; a job that runs the program may write nothing, one that writes gets no credentials."""
    workflow = load(path)
    assert {} == workflow["permissions"]
    # YAML 1.1 takes `on` for true.
    assert not {"pull_request_target", "workflow_run"} & set(workflow[True])
    for name, job in workflow["jobs"].items():
        rights = job["permissions"]
        writes = {right for right, level in rights.items() if level == "write"} - {"id-token"}
        assert writes <= {"pull-requests", "issues"}, name
        if writes:
            assert "id-token" not in rights, name
            assert "secrets." not in yaml.safe_dump(job), name
        elif "steps" in job:
            assert job["environment"], name


def test_a_fork_gets_nothing() -> None:
    """The job with credentials runs for branches of this repository alone."""
    job = load(GITHUB / "workflows" / "preview.yml")["jobs"]["preview"]
    assert "github.event.pull_request.head.repo.full_name == github.repository" == job["if"]
    assert "preview-${{ matrix.stack }}" == job["environment"]
    for path in WORKFLOWS:
        for step in steps(path):
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_the_cli_is_the_one_that_the_sandbox_tests_with() -> None:
    """One version to read about."""
    (step,) = [step for step in steps(GITHUB / "actions" / "prepare" / "action.yml") if "pulumi-version" in str(step)]
    assert VERSION == step["with"]["pulumi-version"]


def test_actionlint_finds_nothing() -> None:
    """Where it is at hand, or a Go to build it: on PATH, or the one that built the engine."""
    go = go_at_hand()
    command = [shutil.which("actionlint")]
    if command == [None] and go is not None:
        command = [str(go), "run", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"]
    if command == [None]:
        pytest.skip("neither actionlint nor Go is at hand")
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    version = run("-version")
    if version.returncode != 0:
        pytest.skip(f"actionlint can't be built: {version.stderr}")
    found = run("-color=false")
    assert ("", 0) == (found.stdout, found.returncode), found.stderr


@pytest.mark.parametrize("path", ACTIONS, ids=ids(ACTIONS))
def test_scripts_of_actions_are_sound(path: Path) -> None:
    """`actionlint` has workflows checked by shellcheck, not actions."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    for step in steps(path):
        if "run" in step:
            text = f"#!/bin/bash\n{step['run']}"
            found = subprocess.run(["shellcheck", "-"], input=text, capture_output=True, text=True, check=False)
            assert "" == found.stdout


@pytest.mark.engine
def test_every_flag_exists() -> None:
    """The real `pulumi` knows each that the scripts give it."""
    try:
        engine = find_engine()
    except EngineError as error:
        pytest.skip(str(error))
    calls = [
        call
        for path in FILES
        for step in steps(path)
        for call in re.findall(
            r"(?:^ *|\$\()pulumi ([^)\n]*)", step.get("run", "").replace("\\\n", ""), flags=re.MULTILINE
        )
    ]
    assert len(calls) >= 6
    for call in calls:
        verb = call.split()[0]
        answer = subprocess.run([engine, verb, "--help"], capture_output=True, text=True, check=True).stdout
        for flag in re.findall(r"--[a-z-]+", call):
            assert re.search(rf"{flag}\b", answer), f"pulumi {verb} {flag}"


GH = """#!{python}
import json, os, subprocess, sys
file = os.environ["STATE"]
state = json.load(open(file))
given = sys.argv[1:]
option = lambda name: given[given.index(name) + 1] if name in given else ""
if given[0] == "api":
    method = option("--method") or "GET"
    url = next(each for each in given if each.startswith("repos/"))
    if method == "GET":
        jq = ["jq", "--raw-output", option("--jq")]
        print(subprocess.run(jq, input=json.dumps(state), text=True, capture_output=True, check=True).stdout, end="")
    else:
        body = open(option("--field").removeprefix("body=@")).read()
        number = int(url.rpartition("/")[2]) if method == "PATCH" else 100 + len(state)
        state = [each for each in state if each["id"] != number]
        state.append({{"id": number, "user": {{"type": "Bot"}}, "body": body}})
elif given[1] == "list":
    jq = ["jq", "--raw-output", option("--jq")]
    print(subprocess.run(jq, input=json.dumps(state), text=True, capture_output=True, check=True).stdout, end="")
elif given[1] == "create":
    state.append({{"number": 7, "title": option("--title"), "body": open(option("--body-file")).read(), "said": []}})
elif given[1] == "edit":
    state[0]["body"] = open(option("--body-file")).read()
elif given[1] == "comment":
    state[0]["said"].append(option("--body"))
elif given[1] == "close":
    state = []
json.dump(state, open(file, "w"))
"""


class Runner:
    """A machine of GitHub's, as far as a script sees it: its folders, and `gh` over a state in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state.json"
        self._commands = folder / "bin"
        self._commands.mkdir()
        self.command("gh", GH.format(python=shutil.which("python3")))

    def command(self, name: str, text: str) -> None:
        """Put a command on PATH."""
        file = self._commands / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)

    def run(self, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a step's script as GitHub does."""
        environment = {
            "PATH": f"{self._commands}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(Path.home()),
            "RUNNER_TEMP": str(self.folder),
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            "GITHUB_PATH": str(self.folder / "path"),
            "STATE": str(self.state),
            **variables,
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def holds(self) -> Any:
        """Return what `gh` has."""
        return json.loads(self.state.read_text(encoding="utf-8"))


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """Return a machine to run scripts on."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed, and `gh` has its own")
    return Runner(tmp_path)


def test_the_comment_is_written_once_and_then_in_its_place(runner: Runner) -> None:
    """Of each stack its own; a person's that quotes it stays."""
    quoting = {"id": 1, "user": {"type": "User"}, "body": "<!-- mta-sts review of prod -->\nI quote"}
    runner.state.write_text(json.dumps([quoting]), encoding="utf-8")
    review = runner.folder / "review.md"
    for stack, text in (("prod", "first"), ("staging", "other"), ("prod", "second")):
        review.write_text(text, encoding="utf-8")
        urls = {"COMMENTS": "repos/o/r/issues/5/comments", "COMMENT": "repos/o/r/issues/comments"}
        done = runner.run(script("comment", "Comment"), ABOUT=stack, FILE=str(review), **urls)
        assert 0 == done.returncode, done.stderr
    assert {
        1: quoting["body"],
        101: "<!-- mta-sts review of prod -->\nsecond",
        102: "<!-- mta-sts review of staging -->\nother",
    } == {comment["id"]: comment["body"] for comment in runner.holds()}


@pytest.mark.parametrize("came", [True, False], ids=["review", "nothing"])
def test_a_stack_without_a_review_gets_a_comment_that_says_so(runner: Runner, came: bool) -> None:
    """Its preview may have died on the way; what was said of an earlier commit must not stay."""
    review = runner.folder / "mta-sts-review.md"
    if came:
        review.write_text("**safe**", encoding="utf-8")
    done = runner.run(script("preview", "Say so where no review came"), STACK="prod", RUN="https://run.invalid/")
    assert 0 == done.returncode, done.stderr
    said = review.read_text(encoding="utf-8")
    assert said == "**safe**" if came else said.startswith("**Could not tell: do not merge.**")
    assert came or ("`prod`" in said and "https://run.invalid/" in said)


def test_each_stack_is_commented_on_whatever_becomes_of_the_others() -> None:
    """By code of the base, since its token writes, also where no review came."""
    job = load(GITHUB / "workflows" / "preview.yml")["jobs"]["comment"]
    assert job["strategy"]["fail-fast"] is False
    assert (
        load(GITHUB / "workflows" / "preview.yml")["jobs"]["preview"]["strategy"]["matrix"] == job["strategy"]["matrix"]
    )
    checkout, download, said, comment = job["steps"]
    assert "${{ github.event.pull_request.base.sha }}" == checkout["with"]["ref"]
    assert download["continue-on-error"] is True
    assert "run" in said
    assert "./.github/actions/comment" == comment["uses"]


def seen(runner: Runner, stack: str, text: str) -> None:
    """Put down what a stack's job handed over."""
    folder = runner.folder / f"nightly-{stack}"
    folder.mkdir(exist_ok=True)
    (folder / "seen.md").write_text(text, encoding="utf-8")


def report(runner: Runner, result: str, stacks: str = "staging prod") -> None:
    """Run what the nightly workflow does at its end."""
    text = script("nightly", "Open, go on with or close the issue")
    done = runner.run(text, RESULT=result, RUN="https://run.invalid/", STACKS=stacks)
    assert 0 == done.returncode, done.stderr


def test_one_issue_is_opened_gone_on_with_and_closed(runner: Runner) -> None:
    """However many nights it lasts; it says what stands today."""
    runner.state.write_text("[]", encoding="utf-8")
    seen(runner, "staging", "all is well")
    for result, said in (("success", None), ("failure", 0), ("failure", 1), ("success", None)):
        seen(runner, "prod", f"**error** number {said}")
        report(runner, result)
        assert ([said] if said is not None else []) == [len(issue["said"]) for issue in runner.holds()]
        for issue in runner.holds():
            assert f"## staging\n\nall is well\n## prod\n\n**error** number {said}" in issue["body"].replace(
                "\n\n#", "\n#"
            )
            assert "https://run.invalid/" in issue["body"]


def test_the_issue_says_which_stack_ended_before_its_check(runner: Runner) -> None:
    """What is not there is no pass."""
    runner.state.write_text("[]", encoding="utf-8")
    seen(runner, "prod", "all is well")
    report(runner, "failure")
    (issue,) = runner.holds()
    assert "## staging\n\nNothing came from this stack" in issue["body"]


def test_the_issue_is_no_longer_than_github_takes(runner: Runner) -> None:
    """Each stack gets its share, cut between lines."""
    runner.state.write_text("[]", encoding="utf-8")
    line = "- **error** mx1.example.com: “é” is 4 bytes more\n"
    for stack in ("a", "b", "c"):
        seen(runner, stack, line * 2000)
    report(runner, "failure", "a b c")
    (issue,) = runner.holds()
    assert 40_000 < len(issue["body"]) < 65_536
    assert 3 == issue["body"].count("… and more")
    assert {line.strip()} == {each for each in issue["body"].splitlines() if each.startswith("- ")}


def test_the_report_is_about_every_stack_that_is_checked() -> None:
    """Two lists, since one job can't tell another's matrix."""
    check, told = load(GITHUB / "workflows" / "nightly.yml")["jobs"].values()
    assert check["strategy"]["matrix"]["stack"] == told["steps"][-1]["env"]["STACKS"].split()


OUTPUT = '#!/bin/sh\necho "pulumi $@" >&2\necho policies-1\n'
SEEN = """#!/bin/sh
echo "$@"
while [ $# -gt 0 ]; do
  case "$1" in
    -o) echo '**error** of prod' > "$2" ;;
    --keep) echo '{{}}' > "$2" ;;
    --last-run) cat "$2" ;;
  esac
  shift
done
exit {code}
"""


@pytest.mark.parametrize(
    ("results", "aws", "before", "last_run", "read"),
    [
        ("", "exit 1", True, "", []),
        ("s3://bucket/mx", 'echo mx > "$5"', True, "--last-run mx.json --last-run before/checked.json", ["mx", "last"]),
        ("s3://bucket/mx", 'echo mx > "$5"', False, "--last-run mx.json", ["mx"]),
        ("s3://bucket/mx", "exit 1", False, "--last-run mx.json", ['{"domains": []}']),
    ],
    ids=["no host for port 25", "handed over", "first night", "not handed over"],
)
def test_the_nightly_check_takes_what_is_known_from_before(
    *, runner: Runner, results: str, aws: str, before: bool, last_run: str, read: list[str]
) -> None:
    """Where a host with port 25 is set up and nothing came from it, the check is told that nobody has looked."""
    if before:
        (runner.folder / "before").mkdir()
        (runner.folder / "before" / "checked.json").write_text("last\n", encoding="utf-8")
    runner.command("aws", f'#!/bin/sh\necho "aws $4" >&2\n{aws}\n')
    runner.command("pulumi", OUTPUT)
    runner.command("mta-sts", SEEN.format(code=1))
    done = runner.run(script("nightly", "What senders see"), STACK="prod", MX_RESULTS=results)
    assert 1 == done.returncode, done.stderr
    said, *more = done.stdout.splitlines()
    given = ["check --stack prod --no-smtp --bucket policies-1", last_run, "--keep nightly/checked.json"]
    assert f"{' '.join(filter(None, given))} --format markdown -o nightly/seen.md" == said
    assert [*read, "**error** of prod"] == more
    asked = ["aws s3://bucket/mx/prod.json"] if results else []
    assert [*asked, "pulumi stack output policy_bucket --stack prod"] == done.stderr.splitlines()
    assert "**error** of prod\n" == (runner.folder / "summary").read_text(encoding="utf-8")
    assert (runner.folder / "nightly" / "checked.json").exists()


def test_a_nightly_check_that_fails_itself_says_why(runner: Runner) -> None:
    """For instance where the bucket can't be read."""
    runner.command("pulumi", OUTPUT)
    runner.command("mta-sts", '#!/bin/sh\necho "mta-sts check: no access" >&2\nexit 64\n')
    done = runner.run(script("nightly", "What senders see"), STACK="prod", MX_RESULTS="")
    assert 64 == done.returncode
    said = (runner.folder / "nightly" / "seen.md").read_text(encoding="utf-8")
    assert "The check itself failed:\n```\nmta-sts check: no access\n```\n" == said


def test_drift_is_told_in_the_issue(runner: Runner) -> None:
    """Also what only the clouds show."""
    for code in (0, 255):
        runner.command("pulumi", f"#!/bin/sh\nexit {code}\n")
        assert code == runner.run(script("nightly", "Drift"), STACK="prod").returncode
        assert (code != 0) == (runner.folder / "nightly" / "seen.md").exists()


def test_the_last_night_that_left_something_is_taken(runner: Runner) -> None:
    """A run that died left nothing."""
    runner.command(
        "gh",
        '#!/bin/sh\nif [ "$2" = list ]; then printf "3\\n2\\n1\\n"; exit; fi\n[ "$3" != 3 ] || exit 1\n'
        'mkdir -p "$7"; echo "$5 of $3" > "$7/checked.json"\n',
    )
    done = runner.run(script("nightly", "Take what the last night knew"), STACK="prod", BRANCH="main")
    assert 0 == done.returncode, done.stderr
    assert "nightly-prod of 2\n" == (runner.folder / "before" / "checked.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("codes", "expected", "waits"),
    [("0", 0, ["0"]), ("1 0", 0, ["0", "330"]), ("1 2 1", 1, ["0", "330", "1500"]), ("2 2 2", 2, ["0", "330", "1500"])],
)
def test_a_deploy_ends_with_the_check(runner: Runner, codes: str, expected: int, waits: list[str]) -> None:
    """Errors fail it, not what a resolver remembers from before."""
    runner.command("pulumi", OUTPUT)
    runner.command("sleep", '#!/bin/sh\necho "sleep $1" >&2\n')
    codes_left = runner.folder / "codes"
    codes_left.write_text("\n".join(codes.split()) + "\n", encoding="utf-8")
    runner.command("mta-sts", '#!/bin/sh\necho "$@"\ncode=$(head -n 1 codes)\nsed -i 1d codes\nexit "$code"\n')
    done = runner.run(script("deploy-stack", "What senders see"), STACK="prod")
    assert expected == done.returncode, done.stderr
    assert waits == [line.removeprefix("sleep ") for line in done.stderr.splitlines() if line.startswith("sleep ")]
    said = "check --stack prod --no-smtp --bucket policies-1 --format markdown\n"
    assert said == (runner.folder / "summary").read_text(encoding="utf-8")
    assert said * len(waits) == done.stdout
    names = [step.get("name") for step in steps(GITHUB / "workflows" / "deploy-stack.yml")]
    assert ["Update", "What senders see"] == names[-2:]


def test_the_workflow_for_a_runner_of_ones_own_hands_over_what_it_saw(runner: Runner) -> None:
    """As it stands in docs/check.md; also on its first night, and where errors are found."""
    text = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    _, step = yaml.safe_load(block)["jobs"]["mx"]["steps"]
    runner.command("python3", "#!/bin/sh\n")  # the environment is there
    (runner.folder / ".venv" / "bin").mkdir(parents=True)
    runner.command("../.venv/bin/pip", "#!/bin/sh\n")
    runner.command("../.venv/bin/mta-sts", SEEN.format(code=1))
    runner.command("aws", '#!/bin/sh\ncase "$4" in s3:*) exit 1 ;; *) cat "$4"; echo "to $5" ;; esac\n')
    done = runner.run(step["run"], STACK="prod", MX_RESULTS="s3://bucket/mx")
    assert 0 == done.returncode, done.stderr
    assert [
        "check --stack prod --last-run mx.json --json -o mx.json",
        '{"domains": []}',
        "**error** of prod",
        "to s3://bucket/mx/prod.json",
    ] == done.stdout.splitlines()


@pytest.mark.parametrize(
    ("preview", "review", "expected", "comment"),
    [
        ("echo plan", "echo '**safe**'; cat \"$2\"", 0, "**safe**\nplan\n"),
        ("echo plan", "echo '**unsafe**'; exit 1", 1, "**unsafe**\n"),
        ("echo plan; exit 255", "echo '**unknown**'; exit 2", 2, "**unknown**\n"),
        # The plan looks whole, and is not.
        ("echo plan; exit 255", "echo '**safe**'", 255, "**Could not tell: do not merge.** `pulumi preview` failed"),
        ("echo plan; exit 255", "echo '**unsafe**'; exit 1", 1, "**unsafe**\n"),
        ("exit 255", "exit 2", 2, "**Could not tell**"),
    ],
)
def test_the_review_is_shown_and_its_verdict_is_the_steps(
    runner: Runner, preview: str, review: str, expected: int, comment: str
) -> None:
    """Also where the plan failed: nothing is taken for safe, and there is always something to read."""
    runner.command("pulumi", f"#!/bin/sh\n{preview}\n")
    (runner.folder / "mta-sts" / "bin").mkdir(parents=True)
    runner.command("../mta-sts/bin/mta-sts", f'#!/bin/sh\necho "$@" >&2\n{review}\n')
    called = {"SERVER": "https://github.invalid", "FROM": "o/r/blob/main", "LIVE": "--live"}
    done = runner.run(script("review", "Review"), STACK="prod", FAIL_ON="degraded", **called)
    assert expected == done.returncode
    page = "--rules-page https://github.invalid/o/r/blob/main/docs/review.md"
    assert f"{page} --live --fail-on degraded" in done.stderr
    file = (runner.folder / "output").read_text(encoding="utf-8").strip().removeprefix("comment=")
    assert Path(file).read_text(encoding="utf-8").startswith(comment)
    assert (runner.folder / "summary").read_text(encoding="utf-8").startswith(comment)


def test_the_rules_run_in_an_environment_of_their_own(runner: Runner) -> None:
    """The pack is copied from what was installed, and names the Python that has the rules."""
    installed = runner.folder / "site" / "pack"
    installed.mkdir(parents=True)
    (installed / "__main__.py").write_text("rules", encoding="utf-8")
    source = runner.folder / "source"
    source.mkdir()
    environment = runner.folder / "mta-sts"
    (environment / "bin").mkdir(parents=True)
    runner.command("../mta-sts/bin/pip", f'#!/bin/sh\necho "$@" > "{runner.folder}/installs"\n')
    runner.command("../mta-sts/bin/python", f'#!/bin/sh\necho "{installed}"\n')
    runner.command("python3", "#!/bin/sh\n")  # the environment is there
    done = runner.run(script("review", "Install mta-sts"), SOURCE=str(source))
    assert 0 == done.returncode, done.stderr
    assert f"{source}[policies]" in (runner.folder / "installs").read_text(encoding="utf-8")
    pack = runner.folder / "mta-sts-rules"
    assert {"name": "python", "options": {"virtualenv": str(environment)}} == load(pack / "PulumiPolicy.yaml")[
        "runtime"
    ]
    assert (pack / "__main__.py").exists()
    runner.command("pulumi", '#!/bin/sh\necho "$@"\n')
    asked = runner.run(script("review", "Apply the rules"), STACK="prod", CONFIG="rules.json")
    assert f"--policy-pack {pack} --policy-pack-config rules.json" in asked.stdout
    assert "--policy-pack-config" not in runner.run(script("review", "Apply the rules"), STACK="prod", CONFIG="").stdout


def documents() -> dict[str, dict[str, Any]]:
    """Return the policy documents of docs/ci-permissions.md by their heading."""
    text = PERMISSIONS.read_text(encoding="utf-8")
    return {
        title: json.loads(block)
        for title, block in re.findall(r"^### (.+?)\n[^#]*?```json\n(.*?)```", text, flags=re.DOTALL | re.MULTILINE)
    }


def test_preview_credentials_only_read() -> None:
    """What the page lets a preview do, with what `pulumi_mta_sts.permissions preview` adds, changes nothing."""
    granted = [documents()["State, for preview"], policy("preview", account="111111111111", bucket="policies")]
    actions = [action for document in granted for statement in document["Statement"] for action in statement["Action"]]
    assert len(actions) > 10
    for action in actions:
        assert re.fullmatch(r"[a-z0-9]+:(Get|List|Describe|Decrypt)[A-Za-z]*", action), action


@pytest.mark.parametrize("role", ["preview", "deploy"])
def test_a_role_is_taken_by_one_environment_alone(role: str) -> None:
    """GitHub's token names the environment, whose approval and branches are then what protects the role."""
    (statement,) = documents()[f"Who may take the {role} role"]["Statement"]
    tests = statement["Condition"]["StringEquals"]
    assert "sts.amazonaws.com" == tests["token.actions.githubusercontent.com:aud"]
    subject = tests["token.actions.githubusercontent.com:sub"]
    assert re.fullmatch(r"repo:OWNER/REPOSITORY:environment:(preview-)?prod", subject)
    assert ("preview-" in subject) == (role == "preview")
