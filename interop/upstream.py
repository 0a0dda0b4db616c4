"""Fetch, prepare and run the test suites that client libraries carry, against one broker.

A suite is fetched as its project publishes it: the pinned source package, or the pinned Go module. It is unpacked
afresh for each run into a temporary folder, told where the broker is, and run as a subprocess. Its results are
compared with the suite's two tables (see `suites.py`): `left_out` is never run, `failing` is run and must not pass.
Everything else must pass. Nothing fetched is kept in the repository or installed in the environment: packages that
only a suite needs go to a folder that only its process sees.

The cache is `AMQPD_INTEROP_CACHE`, or a folder below the user's cache directory. Suites run at once and some fetch the
same, so each thing in it is fetched under a lock.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import kombu
from filelock import FileLock

from interop.harness import Broker

CACHE = Path(os.environ.get("AMQPD_INTEROP_CACHE") or Path.home() / ".cache" / "amqpd-interop")
PLUGIN = Path(__file__).with_name("recorder.py")


@dataclass(frozen=True)
class Edit:
    """A change to the unpacked copy: where a suite names its broker in the source instead of asking for it."""

    path: str
    new: str
    old: str | None = None
    """What to replace, everywhere in the file; None appends `new`."""


@dataclass(frozen=True)
class Suite:
    """One upstream suite: what to fetch, how to point it at a broker, and what we know about its tests.

    `env`, `edits` and `arguments` may use the braces of `Broker.settings`. The keys of `left_out` and `failing` are
    test ids, in which `*` stands for anything and nothing else is special.
    """

    name: str
    package: str
    version: str
    arguments: tuple[str, ...]
    go_files: tuple[str, ...] = ()
    """For a Go module: the files whose tests are run; the others never talk to a broker."""
    env: Mapping[str, str] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    requires: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    failing: Mapping[str, str] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    """Queues that the suite leaves behind and that would disturb its next run on the same broker."""
    needs_http: bool = False
    minimum: int = 1
    """So many tests must pass: a suite that collects nothing proves nothing."""
    timeout: float = 300


@dataclass
class Outcome:
    """What became of a suite's tests: test id -> why, where there is a why."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    output: str = ""
    seconds: float = 0.0

    def complaints(self, suite: Suite) -> list[str]:
        """Every way in which the run differs from what the suite's tables say."""
        found = []
        for test, why in sorted(self.failed.items()):
            if not reason_for(test, suite.failing):
                found.append(f"FAILED {test}\n{why}")
        for test in sorted(self.passed):
            if reason := reason_for(test, suite.failing):
                found.append(f"PASSED {test}, listed as failing: {reason}")
        ran = self.passed | set(self.failed) | set(self.skipped)
        for pattern in suite.failing:
            if not any(matches(test, pattern) for test in ran):
                found.append(f"NO TEST is called {pattern}, which is listed as failing")
        for pattern in suite.left_out:
            if not any(matches(test, pattern) for test in self.left_out):
                found.append(f"NO TEST is called {pattern}, which is listed as left out")
        if len(self.passed) < suite.minimum:
            found.append(
                f"ONLY {len(self.passed)} tests passed, at least {suite.minimum} should\n{self.output[-4000:]}"
            )
        return found


class Results:
    """The outcomes of this process's runs, for the table at the end."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, ...]] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, suite: Suite, outcome: Outcome) -> None:
        """Note a run for the table."""
        expected = sum(1 for test in outcome.failed if reason_for(test, suite.failing))
        counts = (len(outcome.passed), len(outcome.failed) - expected, expected, len(outcome.skipped))
        total = (*counts, len(outcome.left_out), f"{outcome.seconds:.0f} s")
        self._lines.append((f"{suite.name} {suite.version}", *map(str, total)))

    def add_skipped(self, suite: Suite, reason: str) -> None:
        """Note that a suite was not run at all."""
        self._lines.append((f"{suite.name} {suite.version}", "-", "-", "-", "-", "-", reason))

    def table(self) -> Iterator[str]:
        """The table, a line at a time."""
        head = ("suite", "passed", "failed", "known", "skipped", "left out", "time")
        for line in (head, *self._lines):
            yield f"{line[0]:<36}" + "".join(f"{cell:>10}" for cell in line[1:])


RESULTS = Results()


def matches(test: str, pattern: str) -> bool:
    """Whether a table's key means this test: `*` is the only special character, ids are full of brackets."""
    return fnmatchcase(test, pattern.replace("[", "[[]").replace("?", "[?]"))


def reason_for(test: str, table: Mapping[str, str]) -> str | None:
    """The reason that a table gives for this test, if it lists it."""
    return next((reason for pattern, reason in table.items() if matches(test, pattern)), None)


def run(suite: Suite, broker: Broker, directory: Path) -> Outcome:
    """Fetch the suite, run it against the broker and say what became of its tests."""
    source = unpack_module(suite, directory) if suite.go_files else unpack_package(suite, directory)
    settings = broker.settings
    if suite.leftovers:
        with kombu.Connection(broker.url) as connection:
            for queue in suite.leftovers:
                connection.default_channel.queue_delete(queue)
    for edit in suite.edits:
        change(source / edit.path, edit, settings)
    env = os.environ | {name: fill(value, settings) for name, value in suite.env.items()}
    arguments = [fill(argument, settings) for argument in suite.arguments]
    runner = run_go if suite.go_files else run_pytest
    return runner(suite, arguments, source, env, directory)


# ---------------------------------------------------------------- fetching


def fetch(command: list[str], cwd: Path | None = None) -> str:
    """Run a package client; its own words are the error."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def unpack_package(suite: Suite, directory: Path) -> Path:
    """The source package of a Python project, downloaded once and unpacked below `directory`."""
    store = CACHE / "sdist"
    store.mkdir(parents=True, exist_ok=True)
    stem = f"{suite.package.replace('-', '_')}-{suite.version}"
    archive = store / f"{stem}.tar.gz"
    with FileLock(f"{archive}.lock"):
        if not archive.exists():
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
            pinned = [f"{suite.package}=={suite.version}"]
            fetch([*pip, "--no-deps", "--no-binary", suite.package, "--dest", str(store), *pinned])
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    return directory / stem


def unpack_module(suite: Suite, directory: Path) -> Path:
    """A writable copy of a Go module, from the module cache that `go` keeps."""
    found = json.loads(fetch(["go", "mod", "download", "-json", f"{suite.package}@{suite.version}"], cwd=directory))
    target = directory / "module"
    shutil.copytree(found["Dir"], target)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    return target


def installed(requirements: tuple[str, ...]) -> Path | None:
    """A folder with exactly these distributions, for PYTHONPATH; their own requirements are listed too or present."""
    if not requirements:
        return None
    tag = re.sub(r"[^A-Za-z0-9.]+", "_", "-".join(requirements))[:150]
    target = CACHE / "needs" / f"{sys.implementation.cache_tag}-{tag}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
            fetch([*pip, "--target", str(partial), *requirements])
            partial.rename(target)
    return target


# ---------------------------------------------------------------- preparing


def fill(text: str, settings: Mapping[str, str]) -> str:
    """Replace {port} and its like; other braces are the suite's own."""
    for name, value in settings.items():
        text = text.replace("{" + name + "}", value)
    return text


def change(path: Path, edit: Edit, settings: Mapping[str, str]) -> None:
    """Carry out one edit. One that finds nothing to replace is an error: the suite has changed."""
    text = path.read_text()
    new = fill(edit.new, settings)
    if edit.old is None:
        path.write_text(f"{text}\n{new}")
        return
    if edit.old not in text:
        raise RuntimeError(f"{path} does not contain {edit.old!r} any more")
    path.write_text(text.replace(edit.old, new))


# ---------------------------------------------------------------- running


def run_process(command: list[str], cwd: Path, env: Mapping[str, str], timeout: float) -> tuple[str, str]:
    """Run a suite in a process group of its own, so that nothing of it is left when its time is up."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            return process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            raise AssertionError(f"not done after {timeout:g} s:\n{output[-4000:]}\n{errors[-2000:]}") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def run_pytest(suite: Suite, arguments: list[str], source: Path, env: Mapping[str, str], directory: Path) -> Outcome:
    """Run a Python suite under pytest, with a plugin that leaves tests out and records the rest."""
    plugins = directory / "plugin"
    plugins.mkdir()
    shutil.copy(PLUGIN, plugins / "amqpd_recorder.py")
    report = directory / "report.json"
    extra = installed(suite.requires)
    path = [str(plugins), *([str(extra)] if extra else []), env.get("PYTHONPATH", "")]
    environment = {
        **env,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "AMQPD_RECORDER_REPORT": str(report),
        "AMQPD_RECORDER_LEFT_OUT": json.dumps(list(suite.left_out)),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "amqpd_recorder", "-W", "default"]
    output, errors = run_process([*command, *arguments], source, environment, suite.timeout)
    if not report.exists():
        raise AssertionError(f"{suite.name} did not run:\n{output[-6000:]}\n{errors[-2000:]}")
    found = json.loads(report.read_text())
    return Outcome(
        passed=set(found["passed"]),
        failed=found["failed"],
        skipped=found["skipped"],
        left_out=set(found["left_out"]),
        output=output + errors,
        seconds=found["seconds"],
    )


def run_go(suite: Suite, arguments: list[str], source: Path, env: Mapping[str, str], directory: Path) -> Outcome:
    """Run a Go suite: exactly the tests of its files that are not left out."""
    go = ["go", "test", "-tags", "integration", *arguments]
    text = "".join((source / name).read_text() for name in suite.go_files)
    names = [name for name in re.findall(r"^func ((?:Test|Example)\w*)\(", text, re.MULTILINE) if name != "TestMain"]
    left_out = {name for name in names if reason_for(name, suite.left_out)}
    chosen = [name for name in names if name not in left_out]
    pattern = f"^({'|'.join(chosen)})$"
    limit = f"{suite.timeout - 10:.0f}s"
    command = [*go, "-json", "-count", "1", "-timeout", limit, "-run", pattern]
    output, errors = run_process(command, source, env, suite.timeout)
    return read_go(output, errors, left_out)


def read_go(output: str, errors: str, left_out: set[str]) -> Outcome:
    """Read the event stream of `go test -json`: only whole tests count, what they print explains them."""
    outcome = Outcome(left_out=left_out, output=errors)
    said: dict[str, list[str]] = {}
    started: set[str] = set()
    for line in output.splitlines():
        event = json.loads(line) if line.startswith("{") else {"Action": "output", "Output": line}
        test = event.get("Test", "").partition("/")[0]
        action = event["Action"]
        if action == "output":
            said.setdefault(test, []).append(event["Output"])
        elif not test and action in ("pass", "fail"):
            outcome.seconds = event.get("Elapsed", 0.0)
        elif "/" not in event.get("Test", ""):
            text = "".join(said.get(test, []))[-3000:]
            if action == "run":
                started.add(test)
            elif action == "pass":
                outcome.passed.add(test)
            elif action == "fail":
                outcome.failed[test] = text
            elif action == "skip":
                outcome.skipped[test] = text
    ended = outcome.passed | set(outcome.failed) | set(outcome.skipped)
    for test in started - ended:
        outcome.failed[test] = "it did not end:\n" + "".join(said.get(test, []))[-3000:]
    outcome.output += "".join(said.get("", []))
    return outcome
