"""Each wrong profile in tests/data/wrong/profiles gets exactly the message beside it (same name, `.txt`).

The messages are written by hand: they are what a user should read.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from middlebox.load import load_deployment, load_profile
from middlebox.yamlsource import ProfileError

WRONG = Path(__file__).parents[1] / "data" / "wrong" / "profiles"


@pytest.mark.parametrize("file", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_load_wrong_profile_says_where_and_what(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong file is refused with file, line, column, what was expected, what was found and what to do."""
    monkeypatch.chdir(WRONG)
    with pytest.raises(ProfileError) as error:
        load_deployment(file.name)
    assert str(error.value) == file.with_suffix(".txt").read_text(encoding="utf-8").rstrip("\n")


def test_load_wrong_profiles_are_many() -> None:
    """The ways to go wrong are collected, one file each, with none left without its message."""
    assert len(list(WRONG.glob("*.yaml"))) >= 30
    assert {path.stem for path in WRONG.glob("*.yaml")} == {path.stem for path in WRONG.glob("*.txt")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tmobil-uk-2012",
            "expected the name of a profile or a file, got 'tmobil-uk-2012'; did you mean tmobile-uk-2012?",
        ),
        ("xyz", "expected the name of a profile or a file, got 'xyz'; `tamperlab profiles` lists the names"),
        ("no/such.yaml", "expected a file, got 'no/such.yaml', where there is none; check the path"),
        (
            "no/watch-sni",
            "expected a file, got 'no/watch-sni', where there is none; did you mean the profile watch-sni?",
        ),
        (
            "no/watch-sni.yaml",
            "expected a file, got 'no/watch-sni.yaml', where there is none; check the path",
        ),
    ],
)
def test_load_missing_profile_names_the_nearest(name: str, message: str) -> None:
    """A name that is not there is answered with the nearest that is."""
    with pytest.raises(ProfileError) as error:
        load_profile(name)
    assert str(error.value) == message


def test_load_profile_of_deployment_is_refused(tmp_path: Path) -> None:
    """Who asks for one profile does not get a timeline by mistake."""
    file = tmp_path / "d.yaml"
    file.write_text("deployment: d\ntimeline: [{at: 0s, profile: watch-sni}]\n", encoding="utf-8")
    with pytest.raises(ProfileError) as error:
        load_profile(file)
    assert (
        str(error.value)
        == f"{file}:1:1: expected a plain profile, got a deployment; name the profiles it consists of"
    )


def test_load_deployment_naming_deployment_is_refused(tmp_path: Path) -> None:
    """Two deployments that name each other end in a message, not in a loop."""
    for one, other in (("a", "b"), ("b", "a")):
        text = f"deployment: {one}\ntimeline: [{{at: 0s, profile: {other}.yaml}}]\n"
        (tmp_path / f"{one}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as error:
        load_deployment(tmp_path / "a.yaml")
    [problem] = error.value.problems
    assert problem.path == str(tmp_path / "b.yaml")
    assert problem.text == "expected a plain profile, got a deployment; name the profiles it consists of"


def test_load_too_large_file_is_refused_unread(tmp_path: Path) -> None:
    """A capture given in place of a profile is not parsed as YAML for minutes."""
    file = tmp_path / "capture.yaml"
    file.write_bytes(b"a" * 1_000_001)
    with pytest.raises(
        ProfileError, match="expected a file of at most 1000000 bytes, got 1000001; is it the right"
    ):
        load_profile(file)


def test_load_many_aliases_end_in_a_message(tmp_path: Path) -> None:
    """A small file that unfolds to millions of values is refused."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ProfileError, match="expected at most 50000 values, got more; use fewer aliases"):
        load_profile(file)


def test_load_deep_brackets_end_in_a_message(tmp_path: Path) -> None:
    """Ten thousand open brackets do not exhaust the stack."""
    file = tmp_path / "deep.yaml"
    file.write_text("[" * 10_000, encoding="utf-8")
    with pytest.raises(ProfileError, match="expected at most 50 levels, got more; write it flatter"):
        load_profile(file)
