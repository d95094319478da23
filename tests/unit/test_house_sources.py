"""Every source file: says what it is, has its test, and stays within the limits; rooms keep to their doors."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.check_sizes import MAX_FILE_LINES, MAX_FUNCTION_LINES, oversized

ROOT = Path(__file__).parents[2]
ROOMS = ("middlebox", "lab", "scenarios")
SOURCES = sorted(str(file.relative_to(ROOT)) for room in ROOMS for file in (ROOT / room).rglob("*.py"))
SCRIPTS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "scripts").glob("*.py"))
TESTS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("*.py"))

# Source files whose test is not tests/unit/test_<room>_<file>.py, with the test that covers them.
TESTED_ELSEWHERE: dict[str, str] = {
    "lab/clients/curl_mailbox.py": "tests/emulation/test_services_other.py",
    "lab/clients/curl_smtp.py": "tests/emulation/test_clients_outcomes.py",
    "lab/clients/curl_web.py": "tests/emulation/test_services_other.py",
    "lab/clients/senders.py": "tests/emulation/test_clients_outcomes.py",
    "lab/clients/python_smtplib_child.py": "tests/emulation/test_clients_outcomes.py",
    "lab/faults.py": "tests/emulation/test_lab_faults.py",
    "lab/services/misbehaving.py": "tests/emulation/test_services_misbehaving.py",
    "lab/services/misbehaving_server.py": "tests/emulation/test_services_misbehaving.py",
    "lab/services/dns.py": "tests/emulation/test_services_other.py",
    "lab/services/dovecot.py": "tests/emulation/test_services_other.py",
    "lab/services/identity.py": "tests/emulation/test_services_other.py",
    "lab/services/mail_embedded.py": "tests/emulation/test_services_mail.py",
    "lab/services/mail_embedded_server.py": "tests/emulation/test_services_mail.py",
    "lab/services/mail_postfix.py": "tests/emulation/test_services_mail.py",
    "lab/services/mailbox.py": "tests/emulation/test_services_mail.py",
    "lab/services/ssh.py": "tests/emulation/test_services_other.py",
    "lab/services/vpn.py": "tests/emulation/test_services_vpn.py",
    "lab/services/openvpn_tcp_server.py": "tests/emulation/test_services_vpn.py",
    "lab/services/ike.py": "tests/emulation/test_services_vpn.py",
    "lab/services/strongswan.py": "tests/emulation/test_services_vpn.py",
    "lab/services/l2tp.py": "tests/emulation/test_services_vpn.py",
    "lab/services/wireguard.py": "tests/emulation/test_services_vpn.py",
    "lab/services/wireguard_server.py": "tests/emulation/test_services_vpn.py",
    "lab/services/web.py": "tests/emulation/test_services_other.py",
    "lab/capture_process.py": "tests/emulation/test_lab_capture.py",
    "lab/host.py": "tests/emulation/test_lab_host.py",
    "lab/lab.py": "tests/emulation/test_lab_lab.py",
    "lab/netns.py": "tests/emulation/test_lab_link.py",
    "middlebox/injector.py": "tests/emulation/test_box_reset.py",
    "middlebox/live.py": "tests/emulation/test_box_life.py",
    "middlebox/signals.py": "tests/emulation/test_box_life.py",
    "middlebox/nfqueue.py": "tests/emulation/test_box_life.py",
    "middlebox/netfilterrules.py": "tests/emulation/test_box_gate.py",
    "middlebox/conntrack.py": "tests/emulation/test_box_copies.py",
    "middlebox/nflog.py": "tests/emulation/test_box_copies.py",
    "middlebox/gate_copying.py": "tests/emulation/test_box_copies.py",
    "middlebox/nftables.py": "tests/emulation/test_box_gate.py",
    "middlebox/judges.py": "tests/emulation/test_box_life.py",
    "lab/clients/quic_child.py": "tests/unit/test_lab_clients_quic.py",
    "lab/services/quic.py": "tests/e2e/fields/test_gfw_quic.py",
    "lab/services/quic_server.py": "tests/e2e/fields/test_gfw_quic.py",
    "scenarios/vocabulary.py": "tests/unit/test_scenarios_wire.py",
    "scenarios/bench/boxed.py": "tests/e2e/test_bench.py",
    "scenarios/bench/bulk.py": "tests/e2e/test_bench.py",
    "scenarios/bench/connections.py": "tests/e2e/test_bench.py",
    "scenarios/bench/latency.py": "tests/e2e/test_bench.py",
    "scenarios/bench/__main__.py": "tests/e2e/test_bench.py",
    "scenarios/bench/replaying.py": "tests/e2e/test_bench.py",
}


def unit_test_of(source: str) -> str:
    """`middlebox/dissect/tls.py` -> `tests/unit/test_middlebox_dissect_tls.py`."""
    return f"tests/unit/test_{source.removesuffix('.py').replace('__main__', 'main').replace('/', '_')}.py"


def test_every_source_file_has_its_test() -> None:
    """Whoever changes a file knows which test to open."""
    tests = {s: TESTED_ELSEWHERE.get(s, unit_test_of(s)) for s in SOURCES if not s.endswith("__init__.py")}
    missing = {source: test for source, test in tests.items() if not (ROOT / test).is_file()}
    assert missing == {}, "write the test, or name the one that covers the file in TESTED_ELSEWHERE"


def test_exceptions_name_files_that_exist() -> None:
    """The list of exceptions dies with its files."""
    assert set(TESTED_ELSEWHERE) <= set(SOURCES)
    assert [source for source in TESTED_ELSEWHERE if (ROOT / unit_test_of(source)).is_file()] == []


@pytest.mark.parametrize("source", [*SOURCES, *SCRIPTS, *TESTS])
def test_python_file_says_what_it_is(source: str) -> None:
    """A module begins with its purpose, and annotations are never evaluated."""
    tree = ast.parse((ROOT / source).read_text(encoding="utf-8"))
    assert source.startswith("tests/") or ast.get_docstring(tree), "no module docstring"
    futures = [
        a.name
        for n in tree.body
        if isinstance(n, ast.ImportFrom) and n.module == "__future__"
        for a in n.names
    ]
    only_docstring = all(isinstance(n, ast.Expr) for n in tree.body)
    assert only_docstring or "annotations" in futures


@pytest.mark.parametrize("source", [*SOURCES, *SCRIPTS, *TESTS])
def test_python_file_fits_in_one_head(source: str) -> None:
    """Files of at most 400 lines, functions of at most 60."""
    assert oversized(ROOT / source) == []


def test_oversized_function_and_file_are_named_with_their_place(tmp_path: Path) -> None:
    """The size check would notice: one line too many in a function, one in a file."""
    body = "    x = 1\n"
    fits = tmp_path / "fits.py"
    fits.write_text("def f():\n" + body * (MAX_FUNCTION_LINES - 1))
    function = tmp_path / "function.py"
    function.write_text("\ndef f():\n" + body * MAX_FUNCTION_LINES)
    file = tmp_path / "file.py"
    file.write_text("x = 1\n" * (MAX_FILE_LINES + 1))
    assert oversized(fits) == []
    assert [line.split(" ")[0] for line in oversized(function)] == [f"{function}:2:"]
    assert [line.split(" ")[0] for line in oversized(file)] == [f"{file}:"]


def test_rooms_import_only_what_their_contract_allows() -> None:
    """The core is pure, the lab knows no rule, scenarios join them: the contracts of pyproject.toml hold."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_scenario_folder_has_its_play_and_its_readme() -> None:
    """A scenario without a README says nothing about where it comes from."""
    folders = {file.parent for file in (ROOT / "scenarios").glob("*/scenario.yaml")}
    assert [folder.name for folder in sorted(folders) if not (folder / "README.md").is_file()] == []
