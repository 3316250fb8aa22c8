"""`make lint` tells what is known against the packages we install, and how many it asked about."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy import audit

LOCK = """\
asyncpg==0.31.0 --hash=sha256:{0}
httpx==0.28.1 --hash=sha256:{0}
""".format("0" * 64)

ADVISORY = {
    "id": "PYSEC-2099-1",
    "summary": "made up",
    "affected": [
        {
            "package": {"name": "httpx", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "0.28.2"}]}],
        }
    ],
}


@contextmanager
def advising(known: Mapping[str, Any]) -> Iterator[str]:
    """A service of advisories that knows these, by package."""

    class Advisor(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            advisory = known.get(asked["package"]["name"])
            answer = json.dumps({"vulns": [advisory]} if advisory else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Advisor) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK)
    return path


def test_a_vulnerability_fails_and_is_named_with_its_cure(
    lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advising({"httpx": ADVISORY}) as url:
        assert audit.main(["--lock", str(lock), "--osv-url", url]) == 1
    assert capsys.readouterr().out == (
        "pip-audit: 2 of 2 locked packages audited, 1 vulnerabilities known:\n"
        "  httpx 0.28.1: PYSEC-2099-1, mended in 0.28.2\n"
    )


def test_nothing_known_passes_and_says_how_many_were_asked_about(
    lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advising({}) as url:
        assert audit.main(["--lock", str(lock), "--osv-url", url]) == 0
    said = capsys.readouterr().out
    assert said == "pip-audit: 2 of 2 locked packages audited, no vulnerability known\n"


def test_without_an_answer_nothing_was_audited_and_nobody_says_otherwise(
    lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advising({}) as url:
        gone = url
    assert audit.main(["--lock", str(lock), "--osv-url", gone]) == 0
    assert "NOT AUDITED" in capsys.readouterr().out


def test_a_lock_without_hashes_is_no_lock(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock.write_text("httpx==0.28.1\n")
    assert audit.main(["--lock", str(lock)]) == 1
    assert "requirements.lock" in capsys.readouterr().err
