"""What clients are generated from does not change unseen."""

import json

from tests.contracts.openapi import FOLDER, documents


def test_the_committed_documents_are_those_of_the_code() -> None:
    for service, document in documents().items():
        committed = (FOLDER / f"{service}.json").read_text(encoding="utf-8")
        assert committed == document, f"{service}: renew with python -m tests.contracts.openapi"


def test_every_operation_says_who_may_use_it_and_how_it_refuses() -> None:
    for document in documents().values():
        for path, operations in json.loads(document)["paths"].items():
            for operation in operations.values():
                assert operation["x-roles"], path
                assert "application/problem+json" in str(operation["responses"]), path
                assert operation.get("summary"), path
