"""Does a capture show every value that a profile takes from a source? Changes one at a time, and sees who minds.

Such a value must not be able to change without a failing test. So each is changed in a copy of this checkout (180s to
225s, RST+ACK to RST, a clause of a filter left out), and the scenarios of that profile are played with the tests of
their captures. Prints each change that no test noticed, and ends with 1 if there is one.

    .venv/bin/python scripts/mutate_profiles.py [--workers N] [--list] [PROFILE ...]

It must never change a file of the checkout that it is in.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ruamel.yaml import YAML

from middlebox.load import load_profile, profile_names
from middlebox.profile import CHOSEN
from middlebox.yamlsource import ProfileError

ROOT = Path(__file__).resolve().parents[1]
PROFILES = Path("middlebox") / "profiles"
FIELDS = Path("tests") / "e2e" / "fields"
TIMEOUT_S = 300
"""For the tests of one change; the longest scenarios take half a minute on a busy machine."""

_NUMBER = re.compile(r"(?<![\w.])(?:0x[0-9a-f]+|\d+)(?![\w.])")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|min|h|kbit|Mbit|kB|MB)?")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_INSTEAD = {
    "both": "client", "flow": "packet", "packet": "flow", "expected": "0", "first": "last", "last": "first",
    "full": "none", "in-order": "none", "none": "full", "syn": "any", "synack": "any", "any": "syn",
    "RA": "R", "R": "RA", "SA": "S", "FPA": "PA", "FA": "A", "PA": "A", "group": "packet",
    "trigger-ack": "expected", "copied": "expected", "client-to-server": "server-to-client",
}  # fmt: skip
"""Words of profiles -> another one that can stand in the same place."""


@dataclass(frozen=True)
class Mutant:
    """One change. text: the whole profile with it."""

    profile: str
    path: str
    source: str
    was: str
    becomes: str
    text: str

    def __str__(self) -> str:
        return f"{self.profile}: {self.path}: {_in_short(self.was, self.becomes)}  ({self.source})"


def mutants(profile: str) -> Iterator[Mutant]:
    """Every change of a profile that can be loaded."""
    file = ROOT / PROFILES / f"{profile}.yaml"
    for path, source in load_profile(profile).provenance.items():
        if source == CHOSEN or path == "placement":
            continue  # where a box stands shows in what it does
        is_filter = path.endswith("when")
        is_key = re.search(r"\.key\.\d+$", path)
        was = _at(_read(file), path)[0]
        if isinstance(was, dict | list):
            continue  # an action's own values are changed one by one
        changes = filters(str(was)) if is_filter else [None] if is_key else values(was)
        for becomes in changes:
            text = _with(file, path, becomes)
            if _loads(text):
                yield Mutant(profile, path, source, " ".join(str(was).split()), f"{becomes}", text)


def filters(text: str) -> Iterator[str]:
    """A filter without one of its clauses, with another number, with another word."""
    text = " ".join(text.split())
    clauses = _clauses(text)
    if len(clauses) > 1:
        yield from (" and ".join(clauses[:i] + clauses[i + 1 :]) for i in range(len(clauses)))
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    for match in _NUMBER.finditer(text):
        if not any(start < match.start() < end for start, end in quoted):
            yield _one_more(text, match)


def values(value: Any) -> Iterator[Any]:
    """Another value of the same kind."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, float):
        yield value / 2
    elif str(value) in _INSTEAD:
        yield _INSTEAD[str(value)]
    elif match := _QUANTITY.fullmatch(str(value)):
        yield f"{float(match[1]) * 1.25:g}{match[2] or ''}"
    elif numbers := list(_NUMBER.finditer(str(value))):
        yield from (_one_more(str(value), match) for match in numbers[:3])
    else:
        yield f"{value}x"


def _in_short(was: str, becomes: str) -> str:
    """What is different, with the words around it."""
    same = _alike(was, becomes)
    start = was.rfind(" ", 0, max(same - 10, 0)) + 1
    behind = _alike(was[same:][::-1], becomes[same:][::-1])
    end = was.find(" ", len(was) - behind + 10) if behind > 10 else -1
    left = was[start : end if end >= 0 else None]
    right = becomes[start : end + len(becomes) - len(was) if end >= 0 else None]
    return f"{left} -> {right}".replace("\r", "\\r").replace("\n", "\\n")


def _alike(one: str, other: str) -> int:
    """How many characters they have in common before the first that differs."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _one_more(text: str, number: re.Match[str]) -> str:
    """The text with a number that is greater by one, as long as before."""
    found = number[0]
    more = str(int(found, 16 if found.startswith("0x") else 10) + 1).zfill(len(found))
    return text[: number.start()] + more + text[number.end() :]


def _clauses(text: str) -> list[str]:
    """What the outermost `and` joins; the text itself where an `or` is outermost."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[({\[]|[)}\]]| and | or ', text):
        token = match[0]
        depth += (token in "({[") - (token in ")}]") if len(token) == 1 else 0
        if token == " or " and depth == 0:
            return [text]
        if token == " and " and depth == 0:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 10_000
    yaml.preserve_quotes = True
    return yaml


def _read(file: Path) -> Any:
    return _yaml().load(file.read_text(encoding="utf-8"))


def _at(written: Any, path: str) -> tuple[Any, Any, Any]:
    """(the value, what holds it, by which key) of `rules.0.when`."""
    holder: Any = None
    key: Any = None
    for word in path.split("."):
        written = _uncited(written)
        keys = range(len(written)) if isinstance(written, list) else written
        holder, key = written, next(k for k in keys if str(k) == word)
        written = written[key]
    if isinstance(written, dict) and set(written) == {"value", "source"}:
        return written["value"], written, "value"
    return written, holder, key


def _uncited(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and set(value) == {"value", "source"} else value


def _with(file: Path, path: str, becomes: Any) -> str:
    """The profile's text with another value there; None: without it."""
    written = _read(file)
    _, holder, key = _at(written, path)
    if becomes is None:
        del holder[key]
    else:
        holder[key] = becomes
    out = io.StringIO()
    _yaml().dump(written, out)
    return out.getvalue()


def _loads(text: str) -> bool:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        try:
            load_profile(file.name)
        except ProfileError:
            return False
    return True


def witnesses(profile: str) -> list[str]:
    """What pytest is told to run: the scenarios of a profile, as root, and the tests of their captures."""
    slugs = {
        file.parent.name
        for file in (ROOT / "scenarios").glob("*/scenario.yaml")
        if re.search(rf"\b{re.escape(profile)}(?![\w.-])", file.read_text(encoding="utf-8"))
        and not file.parent.name.startswith("benign-")
    }
    tests = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / FIELDS).glob("test_*.py"))
        if not file.name.startswith("test_rules_")
        and any(f'"{slug}"' in file.read_text(encoding="utf-8") for slug in slugs)
    ]
    plays = [
        f"tests/e2e/test_scenarios.py::test_scenario_as_root_is_as_expected[{slug}]" for slug in sorted(slugs)
    ]
    return [*plays, *tests]


def is_noticed(mutant: Mutant, checkout: Path) -> bool:
    """Whether a test fails in this copy of the checkout, with the change."""
    file = checkout / PROFILES / f"{mutant.profile}.yaml"
    before = file.read_bytes()
    file.write_text(mutant.text, encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *witnesses(mutant.profile)]
    try:
        with tempfile.TemporaryDirectory(prefix="tamperlab-mutant-") as scratch:
            done = subprocess.run(
                [*argv, f"--basetemp={scratch}/pytest"],
                cwd=checkout,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return True
    finally:
        file.write_bytes(before)
    assert done.returncode in (0, 1), done.stdout.decode()[-2000:]
    return done.returncode == 1


def survivors(found: list[Mutant], workers: int) -> list[Mutant]:
    """The changes that no test noticed, each tried in a copy of the checkout."""
    copies: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="tamperlab-copies-") as scratch:
        for number in range(workers):
            copy = Path(scratch) / str(number)
            shutil.copytree(
                ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".*_cache")
            )
            copies.put(copy)

        def survives(mutant: Mutant) -> bool:
            checkout = copies.get()
            try:
                noticed = is_noticed(mutant, checkout)
            finally:
                copies.put(checkout)
            print(f"{'noticed ' if noticed else 'SURVIVED'}  {mutant}", flush=True)
            return not noticed

        with ThreadPoolExecutor(workers) as pool:
            return [mutant for mutant, alive in zip(found, pool.map(survives, found), strict=True) if alive]


def main() -> int:
    """Exit status 1 if a change survived."""
    parser = argparse.ArgumentParser(
        description="Changes the sourced values of profiles; which does no capture show?"
    )
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help="default: all")
    parser.add_argument("--workers", type=int, default=3, help="so many at once")
    parser.add_argument("--list", action="store_true", help="print the changes and try none")
    arguments = parser.parse_args()
    found = [mutant for name in arguments.profiles or profile_names() for mutant in mutants(name)]
    if arguments.list:
        print("\n".join(map(str, found)))
        return 0
    alive = survivors(found, arguments.workers)
    print(f"{len(found)} values changed, one at a time: {len(found) - len(alive)} noticed, {len(alive)} not")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
