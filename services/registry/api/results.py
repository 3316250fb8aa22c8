"""Samples and results, one or many at a time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import prometheus_client
from fastapi import APIRouter, Request, Response

from services.registry.api.rows import (
    BatchAnswer,
    DocumentIn,
    Short,
    Time,
    answered,
    translated,
)
from services.registry.domain.answers import RowAnswer
from services.registry.domain.entries import Entry
from services.registry.flow.results import record
from services.registry.wiring import Wiring
from shared.bodies import ROW_LIMIT, Given, Rows, decode_one, decode_rows, json_reply, read_body
from shared.contracts.vocabulary import Channel, Outcome
from shared.errors import RuleError
from shared.gathering import Gatherer
from shared.openapi import openapi_body, openapi_reply

GATHERED = frozenset({("POST", "/v1/results")})
"""Routes whose requests are written down together."""

ACCEPTED = prometheus_client.Counter(
    "lastmetre_results_accepted_total",
    "Rows of samples and results that were answered, by channel and answer.",
    ["channel", "status"],
)


class Who(Given, frozen=True, gc=False):
    """The resident, by `id` or by `id_document`."""

    id: UUID | None = None
    id_document: DocumentIn | None = None

    def __post_init__(self) -> None:
        if (self.id is None) == (self.id_document is None):
            raise RuleError("one of id and id_document")


class Result(Given, frozen=True, gc=False):
    """A swab, and with `outcome` a report about it.

    `sample_id` names the swab and `result_id` this row about it. Both are made by the sender (R19),
    best as UUIDs of version 7 (RFC 9562): ids that begin with the time are the cheapest to store.
    `result_id` may be left out of a row without outcome.
    Outcomes without `released_at` are kept, and neither counted nor shown (R10).

    Rows about one swab have to agree in resident, round, sampling time and channel; `site` and
    `tube_code` may be left out, and are taken from whichever row knows them.

    A row that `corrects` names the `result_id` of a report, and brings another outcome, or the
    `sample_id` of the swab, and tells whose it is, when and in which round it was taken; with
    `void` it takes either back. Rows that know a swab as it was before it was corrected still mean
    it, and its reports follow it.
    """

    sample_id: UUID
    resident: Who
    round_id: UUID
    sampled_at: Time
    channel: Channel
    result_id: UUID | None = None
    outcome: Outcome | None = None
    resulted_at: Time | None = None
    released_at: Time | None = None
    site: Short | None = None
    tube_code: Short | None = None
    corrects: UUID | None = None
    void: bool = False

    def __post_init__(self) -> None:
        if self.result_id is None and (self.outcome or self.corrects):
            raise RuleError("result_id: needed with outcome or corrects")
        if self.void and self.corrects is None:
            raise RuleError("corrects: needed with void")
        if self.outcome and self.corrects == self.sample_id and not self.void:
            raise RuleError("outcome: not in a row that corrects a swab; send it as another row")
        for name in ("resulted_at", "released_at"):
            moment = getattr(self, name)
            if moment is not None and moment < self.sampled_at:
                raise RuleError(f"{name}: not before sampled_at")
        if self.result_id == self.sample_id:
            raise RuleError("result_id: not the id of the swab")


def _entry(ordinal: int, row: Result) -> Entry:
    return Entry(
        ordinal=ordinal,
        sample=row.sample_id,
        result=row.result_id,
        resident=row.resident.id,
        document=row.resident.id_document.checked() if row.resident.id_document else None,
        round=row.round_id,
        sampled_at=row.sampled_at,
        channel=row.channel,
        site=row.site,
        tube_code=row.tube_code,
        outcome=row.outcome,
        resulted_at=row.resulted_at,
        released_at=row.released_at,
        corrects=row.corrects,
        void=row.void,
    )


def _ref(row: Result) -> UUID:
    return row.result_id or row.sample_id


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["results"])

    @routes.post(
        "/v1/results:batch",
        openapi_extra=openapi_body(Result),
        responses=openapi_reply(BatchAnswer),
    )
    async def post_results(request: Request) -> Response:
        """Send up to 10,000 samples and results; each row is answered for itself (R21).

        Send a batch again whenever its answer was lost: what was accepted is `duplicate` then.
        """
        body = await read_body(request)
        rows = decode_rows(
            body, request.headers.get("content-type"), Result, ROW_LIMIT, ref="result_id"
        )
        return json_reply(await _record(rows))

    @routes.post(
        "/v1/results",
        openapi_extra=openapi_body(Result, list_=False),
        responses=openapi_reply(BatchAnswer) | openapi_reply(BatchAnswer, 422, "Rejected"),
    )
    async def post_result(request: Request) -> Response:
        """Send one sample or result. The answer has the shape of a batch of one.

        What many send at the same time is written down together and answered one by one, each after
        the commit.
        """
        row = decode_one(await read_body(request), Result)
        rows = Rows(1, [row], range(1))
        entries, answers = translated(rows, _entry)
        for entry in entries:
            answers.append(await scans.give(entry))
        answer = answered(rows, answers, _ref)
        return json_reply(answer, 422 if answer.rejected else 200)

    async def _record(rows: Rows[Result]) -> BatchAnswer:
        entries, refused = translated(rows, _entry)
        return answered(rows, [*refused, *await _written(entries)], _ref)

    async def _written_together(entries: Sequence[Entry]) -> list[RowAnswer]:
        numbered = [msgspec.structs.replace(each, ordinal=n) for n, each in enumerate(entries)]
        answers = await _written(numbered)
        return [replace(told, ordinal=0) for told in answers]

    async def _written(entries: Sequence[Entry]) -> list[RowAnswer]:
        answers = await wiring.database.transact(record, wiring.vault, entries, datetime.now(UTC))
        kinds = Counter((e.channel, told.status) for e, told in zip(entries, answers, strict=True))
        for (channel, status), n in kinds.items():
            ACCEPTED.labels(channel, status).inc(n)
        return answers

    scans = Gatherer(_written_together)
    return routes
