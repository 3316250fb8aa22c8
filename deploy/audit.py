"""Whether vulnerabilities are known in what the lock installs: `python -m deploy.audit`.

pip-audit says "no known vulnerabilities" as well when no service answered for a single package: a
mirror of packages often has no advisories. So this counts what was answered, and says so. It fails
for a vulnerability and for a lock that cannot be read; for a network that is not there it does not.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"

_SERVICES = ("pypi", "osv")
"""Who is asked, in this order, until one of them has answered for a package."""
_SECONDS = 300.0
_FOUND = 1


class AuditError(Exception):
    """The lock cannot be audited, whoever is asked."""


@dataclass(frozen=True)
class Audit:
    """What services said about a lock.

    `locked` are the packages that are installed on this machine, `audited` those that a service
    answered for, `findings` the vulnerabilities, each as a line.
    """

    locked: int
    audited: int = 0
    findings: Sequence[str] = ()

    def verdict(self) -> str:
        """Say it in a sentence."""
        if not self.audited:
            return (
                f"pip-audit: NOT AUDITED. No vulnerability service answered for any of the"
                f" {self.locked} locked packages from here; run `make lint` where one is reached."
            )
        told = f"pip-audit: {self.audited} of {self.locked} locked packages audited, "
        if not self.findings:
            return f"{told}no vulnerability known"
        return "\n".join([f"{told}{len(self.findings)} vulnerabilities known:", *self.findings])


def audit(lock: Path, services: Iterable[Sequence[str]]) -> Audit:
    """Ask one service after the other, each named as pip-audit's options.

    Raises:
        AuditError: the lock cannot be read

    """
    locked = _locked(lock)
    for service in services:
        asked = _pip_audit(lock, "--format", "json", *service)
        # Without an answer there is no JSON, but a traceback of a connection.
        if asked.stdout.startswith("{"):
            answer = _read(locked, json.loads(asked.stdout))
            if answer.audited:
                return answer
    return Audit(locked)


def _locked(lock: Path) -> int:
    """Count the packages, which takes no network."""
    read = _pip_audit(lock, "--dry-run")
    counted = re.search(r"would have audited (\d+) packages", read.stderr)
    if read.returncode or counted is None:
        raise AuditError(f"pip-audit cannot read {lock.name}\n{read.stderr.strip()}")
    return int(counted[1])


def _pip_audit(lock: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own command, no shell
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(lock)),
            # The lock is whole and hashed: nothing has to be resolved, so nothing is downloaded.
            *("--require-hashes", "--disable-pip", "--progress-spinner", "off"),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def _read(locked: int, answer: Mapping[str, Any]) -> Audit:
    packages = [package for package in answer["dependencies"] if "skip_reason" not in package]
    findings = [
        f"  {package['name']} {package['version']}: {known['id']},"
        f" mended in {', '.join(known['fix_versions']) or 'no version yet'}"
        for package in packages
        for known in package["vulns"]
    ]
    return Audit(locked, len(packages), findings)


def main(argv: Sequence[str] | None = None) -> int:
    """Audit the lock, tell, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.audit", description=audit.__doc__)
    parser.add_argument("--lock", type=Path, default=LOCK)
    parser.add_argument("--osv-url", help="a mirror of OSV's query interface; asked alone")
    options = parser.parse_args(argv)
    mirror = ("--vulnerability-service", "osv", "--osv-url", options.osv_url)
    services = [mirror] if options.osv_url else [("--vulnerability-service", s) for s in _SERVICES]
    try:
        found = audit(options.lock, services)
    except AuditError as error:
        sys.stderr.write(f"{error}\n")
        return _FOUND
    sys.stdout.write(f"{found.verdict()}\n")
    return _FOUND if found.findings else 0


if __name__ == "__main__":
    sys.exit(main())
