"""Coverage and the series of samples."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response

from services.reporting.api.answers import (
    NOT_MODIFIED,
    Answer,
    AsOfAnswer,
    IfNoneMatch,
    RoundAnswer,
    RoundParameter,
    Row,
    headers_of,
    heading_of,
    same,
    tag_of,
)
from services.reporting.api.sheets import CSV, XLSX, Sheet, csv_of, sheet_of, xlsx_of
from services.reporting.api.shelf import Shelf
from services.reporting.domain.areas import ByArea
from services.reporting.domain.coverage import By
from services.reporting.domain.freshness import Edition
from services.reporting.domain.rounds import View
from services.reporting.flow import figures
from services.reporting.wiring import Wiring
from shared.accepting import preferred
from shared.auth import CallerDep
from shared.bodies import JSON
from shared.database import Transaction

Step = Literal["5m", "10m", "15m", "30m", "1h"]
STEP_SECONDS: dict[Step, int] = {"5m": 300, "10m": 600, "15m": 900, "30m": 1800, "1h": 3600}

Form = Literal["json", "csv", "xlsx"]
FormParameter = Annotated[
    Form | None,
    Query(
        alias="format",
        description="json, csv or xlsx; outranks `Accept`, so that a link can ask for a file",
    ),
]
Accept = Annotated[str | None, Header(include_in_schema=False)]
_FORMS: Mapping[str, Form] = {JSON: "json", CSV: "csv", XLSX: "xlsx"}
WRITERS: Mapping[Form, tuple[str, Callable[[Sheet], bytes]]] = {
    "csv": (f"{CSV}; charset=utf-8; header=present", csv_of),
    "xlsx": (XLSX, xlsx_of),
}
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The figures. As CSV (UTF-8 with a byte order mark) and XLSX the same table"
        " is flat: a line a row, the total last, columns named by the member and its Chinese term.",
        "content": {
            CSV: {"schema": {"type": "string"}},
            XLSX: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class CoverageHeading(Answer):
    """What a coverage table is of, and as of when."""

    round: RoundAnswer
    by: By
    areas: list[str]
    """Code prefixes that the figures are limited to: those of the token."""
    as_of: AsOfAnswer


class CoverageTable(Answer):
    """The figures themselves: the same for everybody who sees the same areas, until they change."""

    rows: list[Row]
    """By need they overlap; only areas sum to `total`."""
    total: Row


class CoverageAnswer(CoverageTable, CoverageHeading):
    """Who is left: one row per area, need or channel, and everybody in the token's areas."""


class PointAnswer(Answer):
    """Samples of one step of sampling time."""

    at: datetime
    """Beginning of the step."""
    sampled: int
    cumulative: int
    """Sampled up to the end of the step."""


class SeriesRowAnswer(Answer):
    """Samples of one area along sampling time; steps without any are left out."""

    code: str
    name: str
    points: list[PointAnswer]


class SeriesAnswer(Answer):
    """The curve of a round. Late entries move it where they belong, back in time."""

    round: RoundAnswer
    by: ByArea
    step: Step
    areas: list[str]
    as_of: AsOfAnswer
    rows: list[SeriesRowAnswer]


def router(wiring: Wiring) -> APIRouter:
    """Build the routes of figures."""
    routes = APIRouter(tags=["coverage"])
    database = wiring.database
    tables: Shelf[str] = Shelf()
    files: Shelf[bytes] = Shelf()

    @routes.get("/v1/coverage", response_model=CoverageAnswer, responses={**_FILES, **NOT_MODIFIED})
    async def get_coverage(
        *,
        caller: CallerDep,
        round_id: RoundParameter = None,
        by: By = "office",
        form: FormParameter = None,
        accept: Accept = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Read coverage and the whole account, by district, office, community, need or channel."""
        form = form or _FORMS[preferred(accept, list(_FORMS))]
        async with database.snapshot() as tx:
            edition = await figures.edition(tx, round_id, caller.areas)
            tag = tag_of(edition, "coverage", by, form)
            headers = headers_of(edition, tag) | {"Vary": "Authorization, Accept"}
            if same(if_none_match, tag):
                return Response(status_code=304, headers=headers)
            question = (edition.view.round.id, by, form, caller.areas)
            if form != "json":
                file = await files.copy(question, tag, partial(_file, tx, edition, by, form))
                name = f"coverage-{edition.view.round.number}-{by}.{form}"
                headers["Content-Disposition"] = f'attachment; filename="{name}"'
                return Response(file, headers=headers, media_type=WRITERS[form][0])
            table = await tables.copy(question, tag, partial(_table, tx, edition.view, by))
        heading = CoverageHeading(by=by, **heading_of(edition, caller.areas)).model_dump_json()
        # Two JSON objects as one: a table holds until it changes, its heading for this moment.
        return Response(f"{heading[:-1]},{table[1:]}", headers=headers, media_type=JSON)

    @routes.get("/v1/coverage/series", response_model=SeriesAnswer, responses=NOT_MODIFIED)
    async def get_series(
        *,
        caller: CallerDep,
        response: Response,
        round_id: RoundParameter = None,
        by: ByArea = "office",
        step: Step = "5m",
        if_none_match: IfNoneMatch = None,
    ) -> SeriesAnswer | Response:
        """Read how many were sampled in each step of sampling time."""
        async with database.snapshot() as tx:
            edition = await figures.edition(tx, round_id, caller.areas)
            tag = tag_of(edition, "series", by, step)
            if same(if_none_match, tag):
                return Response(status_code=304, headers=headers_of(edition, tag))
            rows = await figures.series(tx, edition.view, by, step_seconds=STEP_SECONDS[step])
        response.headers.update(headers_of(edition, tag))
        return SeriesAnswer(
            **heading_of(edition, caller.areas),
            by=by,
            step=step,
            rows=[SeriesRowAnswer.model_validate(row) for row in rows],
        )

    return routes


async def _table(tx: Transaction, view: View, by: By) -> str:
    return CoverageTable.model_validate(await figures.coverage(tx, view, by)).model_dump_json()


async def _file(tx: Transaction, edition: Edition, by: By, form: Form) -> bytes:
    sheet = sheet_of(edition, await figures.coverage(tx, edition.view, by))
    # A workbook of a city takes a second: others are answered meanwhile.
    return await asyncio.to_thread(WRITERS[form][1], sheet)
