"""Somebody opens the page: signs in once, sees the figures of their areas, and hears of changes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import StreamingResponse

from services.reporting.api.access import READERS
from services.reporting.api.page import views
from services.reporting.api.page.live import BEHIND, RETRY, Channel, Channels, Viewer
from services.reporting.api.page.rendering import Rendition
from services.reporting.api.page.serving import Packed
from services.reporting.api.page.words import SPEECH, preferred
from services.reporting.domain.pace import finishing
from services.reporting.domain.series import Point
from shared.auth import ROLES
from shared.contracts.registry import RollChanged, Standing
from shared.errors import NotFound
from tests.reporting.conftest import CHAOHE, FIRST, QIANCHENG, SECOND, THIRD, Desk
from tests.reporting.producers import change

SIZES = {FIRST: 300, SECOND: 200, THIRD: 100}
UNTESTED, SAMPLED = Standing(), Standing(klass="sampled", channel="site")
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


async def sign_in(
    desk: Desk, *roles: str, areas: tuple[str, ...] = ("410171",), **claims: Any
) -> httpx.Response:
    """Sign in as somebody; the client keeps the cookie."""
    token = desk.issuer.token(*roles, areas=areas, **claims)
    return await desk.client.post("/sign-in", data={"token": token, "lang": "en"})


async def look(desk: Desk, path: str = "/", **headers: str) -> str:
    """Open a page."""
    answer = await desk.client.get(path, headers={"Accept-Language": "en", **headers})
    assert answer.status_code == HTTPStatus.OK, answer.text
    return answer.text


def figures(page: str, row: str) -> list[str]:
    """Read the figures of a row of the table."""
    found = re.search(rf'<tr id="{row}">(.*?)</tr>', page, re.DOTALL)
    assert found, page
    return re.findall(r"<td class=\"[a-z_]+\"[^>]*>([^<]*)</td>", found[1])


async def test_who_is_not_signed_in_is_asked_to_and_comes_back(desk: Desk) -> None:
    await desk.open_round(SIZES)
    asked = await desk.client.get(f"/office/{CHAOHE}?lang=en")
    assert asked.status_code == HTTPStatus.SEE_OTHER
    there = asked.headers["location"]
    assert there == f"/sign-in?next=%2Foffice%2F{CHAOHE}%3Flang%3Den"
    form = (await desk.client.get(there)).text
    assert f'value="/office/{CHAOHE}?lang=en"' in form

    token = desk.issuer.token("office", areas=[CHAOHE])
    answer = await desk.client.post(
        "/sign-in", data={"token": token, "next": f"/office/{CHAOHE}?lang=en"}
    )
    assert answer.headers["location"] == f"/office/{CHAOHE}?lang=en"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "滨河社区" in await look(desk, answer.headers["location"])

    await desk.client.post("/sign-out")
    assert (await desk.client.get("/")).status_code == HTTPStatus.SEE_OTHER


async def test_the_page_shows_what_the_api_says(desk: Desk) -> None:
    round_id = await desk.open_round(SIZES)
    sampled = RollChanged(round_id, {FIRST: [change(UNTESTED, SAMPLED) for _ in range(120)]})
    desk.world.registry.announce(sampled, FIRST)
    await desk.wiring.consumer.catch_up()
    await sign_in(desk, "district")
    page = await look(desk)
    told = (await desk.get("/v1/coverage", by="office")).json()
    for line in told["rows"]:
        assert figures(page, f"row-{line['code']}") == [
            str(line["unaccounted"]), f"{line['coverage']:.2%}",
            *(str(line[n]) for n in ("roll", "sampled", "excluded", "in_hand", "visits_open")),
        ]  # fmt: skip
    assert figures(page, "total")[2:4] == ["600", "120"]

    office = await look(desk, f"/office/{QIANCHENG}")
    assert "韩庄社区" in office
    assert "滨河社区" not in office
    assert figures(office, f"row-{FIRST}")[2:4] == ["300", "120"]


async def test_nobody_sees_more_than_their_token_allows(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await sign_in(desk, "office", areas=(CHAOHE,))
    page = await look(desk)
    assert "潮河街道" in page
    assert "前程街道" not in page
    foreign = await desk.client.get(f"/office/{QIANCHENG}", headers={"Accept-Language": "en"})
    assert foreign.status_code == HTTPStatus.NOT_FOUND
    assert "no such office" in foreign.text
    assert "problem+json" not in foreign.headers["content-type"]

    # A site's token gets no page at all, nor does a forged cookie.
    refused = await sign_in(desk, "site")
    assert "gives no right" in refused.text
    desk.client.cookies.clear()
    assert (await desk.client.get("/", headers={"Cookie": "lastmetre=x.y.z"})).is_redirect


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/office/{CHAOHE}",
        "/map",
        "/map/communities",
        f"/map/{CHAOHE}",
        "/v1/stream?view=office&office=0",
    ],
)
@pytest.mark.parametrize("role", sorted(ROLES))
async def test_every_role_at_every_page(desk: Desk, role: str, path: str) -> None:
    await desk.open_round(SIZES)
    answer = await desk.client.get(path, headers=desk.read_as(role))
    if role not in READERS:
        assert answer.status_code == HTTPStatus.FORBIDDEN
        assert "潮河街道" not in answer.text
    else:
        # A stream would not end: that of an office which is not there is not there either.
        found = HTTPStatus.NOT_FOUND if "stream" in path else HTTPStatus.OK
        assert answer.status_code == found


async def test_every_view_leads_to_the_others(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    for path, current in (("/", "page"), (f"/office/{CHAOHE}", "true")):
        page = await look(desk, f"{path}?lang=en")
        assert f'<a href="/?lang=en" aria-current="{current}">District</a>' in page


async def test_a_link_signs_in_once(desk: Desk) -> None:
    await desk.open_round(SIZES)
    token = desk.issuer.token("district", areas=["410171"], jti="a-link")
    first = await desk.client.post("/sign-in", data={"token": token})
    assert first.status_code == HTTPStatus.SEE_OTHER
    again = await desk.client.post("/sign-in", data={"token": token, "lang": "en"})
    assert "used before" in again.text
    # Who came in by it stays in.
    await look(desk)


async def test_other_sites_can_neither_sign_somebody_in_nor_write_in_their_name(
    desk: Desk,
) -> None:
    token = desk.issuer.token("admin", areas=["410171"])
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    answer = await desk.client.post("/sign-in", data={"token": token}, headers=elsewhere)
    assert "set-cookie" not in answer.headers or "lastmetre=ey" not in answer.headers["set-cookie"]
    await desk.client.post("/sign-in", data={"token": token})
    forged = await desk.client.post("/v1/rebuild", headers=elsewhere)
    assert forged.status_code == HTTPStatus.UNAUTHORIZED
    ours = await desk.client.post("/v1/rebuild", headers=SAME_SITE)
    assert ours.is_success, ours.text


@pytest.mark.parametrize("place", ["//elsewhere.example", "https://elsewhere.example", "/\\x", ""])
async def test_signing_in_leads_nowhere_else(desk: Desk, place: str) -> None:
    token = desk.issuer.token("district", areas=["410171"])
    answer = await desk.client.post("/sign-in", data={"token": token, "next": place})
    assert answer.headers["location"] == "/"


async def test_a_form_without_end_is_cut_off(desk: Desk) -> None:
    answer = await desk.client.post("/sign-in", content=b"token=" + b"x" * 100_000)
    assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


async def test_both_languages_say_everything(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    chinese = await look(desk, "/?lang=zh")
    assert '<html lang="zh-CN">' in chinese
    assert "未落实" in chinese
    # It is remembered, whatever the browser asks for.
    assert "未落实" in await look(desk)
    assert "Unaccounted" in await look(desk, "/?lang=en")
    assert (preferred(None, "fr, zh-TW;q=0.8"), preferred("en", "zh"), preferred(None, None)) == (
        "zh", "en", "zh",
    )  # fmt: skip
    assert SPEECH["en"].share(0.999_99) == "99.99%"
    assert SPEECH["zh"].number(12_600_000) == "12,600,000"


async def test_nothing_is_loaded_from_elsewhere_and_nothing_inline(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    answer = await desk.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script>|style=|onclick=", answer.text)
    for address in re.findall(r'(?:src|href)="(/page/[^"]+)"', answer.text):
        file = await desk.client.get(address)
        assert file.is_success
        assert "immutable" in file.headers["cache-control"]
    assert (await desk.client.get("/page/0/page.css")).status_code == HTTPStatus.NOT_FOUND


async def test_a_page_that_did_not_change_is_not_sent_again(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    first = await desk.client.get("/")
    tag = first.headers["etag"]
    again = await desk.client.get("/", headers={"If-None-Match": f'"x", {tag}'})
    assert again.status_code == HTTPStatus.NOT_MODIFIED
    policy = "content-security-policy"
    assert again.headers[policy] == first.headers[policy]


async def test_time_alone_makes_no_other_edition(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curve and the pace are looked at again and again; mostly nothing comes of it."""
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    tag = (await desk.client.get("/")).headers["etag"]
    monkeypatch.setattr(views.account, "PACE_SECONDS", 1e-6)
    again = await desk.client.get("/", headers={"If-None-Match": tag})
    assert again.status_code == HTTPStatus.NOT_MODIFIED
    # What moves is figures.
    await desk.open_round(SIZES, number=2)
    assert (await desk.client.get("/", headers={"If-None-Match": tag})).is_success


class Shown:
    """A view that is looked at once an edition."""

    def __init__(self, *editions: Rendition) -> None:
        self._editions: asyncio.Queue[Rendition] = asyncio.Queue()
        for each in editions:
            self.change(each)
        self.over = False
        self.channel = Channel(self._editions.get, lambda: self.over, seconds=0)

    def change(self, now: Rendition) -> None:
        """Let it be another one from now on."""
        self._editions.put_nowait(now)


def edition(tag: str, **parts: str) -> Rendition:
    """An edition of a view."""
    return Rendition(tag, "", "a round", parts)


async def test_what_changes_is_told_to_everybody_and_only_that() -> None:
    first = edition("1", total="600", kinds="none", headline="600 left")
    shown = Shown(first)
    viewers = [await shown.channel.join("1", first.shape) for _ in range(3)]
    shown.change(edition("2", total="599", kinds="none", headline="599 left"))
    for viewer in viewers:
        events = viewer.events()
        assert await heard(events) == {"tag": "1", "as_of": "", "parts": {}}
        changed = {"total": "599", "headline": "599 left"}
        assert await heard(events) == {"tag": "2", "as_of": "", "parts": changed}
        shown.channel.leave(viewer)
    assert shown.channel.deserted


async def test_who_comes_while_figures_move_is_told_all_of_them_and_loads_nothing_anew() -> None:
    first, second = edition("1", total="600", kinds="none"), edition("2", total="599", kinds="none")
    shown = Shown(first)
    await shown.channel.join("1", first.shape)
    newcomer = await shown.channel.join("2", second.shape)
    events = newcomer.events()
    shown.change(edition("3", total="598", kinds="none"))
    assert (await heard(events))["parts"] == {"total": "598", "kinds": "none"}
    # From there on they follow like everybody.
    shown.change(edition("4", total="597", kinds="none"))
    assert (await heard(events))["parts"] == {"total": "597"}


async def test_who_has_a_page_of_other_parts_loads_it_anew() -> None:
    shown = Shown(edition("1", total="600", kinds="none"))
    stranger = await shown.channel.join("0", edition("0", total="600").shape)
    assert await heard(stranger.events()) == {"reload": True}


async def test_the_stream_is_for_those_who_may_see_the_figures(desk: Desk) -> None:
    await desk.open_round(SIZES)
    assert (await desk.client.get("/v1/stream")).status_code == HTTPStatus.UNAUTHORIZED
    await sign_in(desk, "office", areas=(CHAOHE,))
    foreign = await desk.client.get(f"/v1/stream?office={QIANCHENG}")
    assert foreign.status_code == HTTPStatus.NOT_FOUND


def test_the_next_round_is_another_page() -> None:
    first = Rendition("1", "", "first", {"total": "600"})
    assert Rendition("2", "", "second", {"total": "600"}).since(first) is None
    assert Rendition("2", "", "first", {"total": "600", "more": "1"}).since(first) is None


async def heard(events: AsyncIterator[bytes]) -> dict[str, Any]:
    """Hear one event."""
    event = await asyncio.wait_for(anext(events), 30)
    found: dict[str, Any] = json.loads(event.removeprefix(b"data: "))
    return found


async def test_who_is_too_slow_looks_anew_and_holds_nothing_up() -> None:
    viewer = Viewer()
    for number in range(BEHIND + 1):
        viewer.tell(b"data: %d\n\n" % number)
    viewer.tell(None)
    assert [event async for event in viewer.events()] == [b'data: {"reload":true}\n\n']


async def test_who_is_too_slow_hears_of_the_end_all_the_same() -> None:
    viewer = Viewer()
    for number in range(BEHIND):
        viewer.tell(b"data: %d\n\n" % number)
    viewer.tell(None)
    assert [event async for event in viewer.events()] == []


async def test_the_stream_ends_when_the_process_is_stopped() -> None:
    only = edition("1")
    shown = Shown(only)
    viewer = await shown.channel.join("1", only.shape)
    shown.over = True
    # It comes to an end by itself: whoever waits for that is not kept.
    events = [event async for event in viewer.events()]
    assert json.loads(events[0].removeprefix(b"data: "))["tag"] == "1"


async def test_two_who_come_first_at_once_share_one_look() -> None:
    channels, looks = Channels(lambda: False, 0.01), 0
    looking, gate = asyncio.Event(), asyncio.Event()
    only = edition("1")

    async def look() -> Rendition:
        nonlocal looks
        looks += 1
        looking.set()
        await gate.wait()
        return only

    coming = [
        asyncio.create_task(channels.follow("view", "1", only.shape, look, 1)) for _ in range(2)
    ]
    await looking.wait()
    gate.set()
    streams = [[event async for event in await each] for each in coming]
    assert looks == 1
    for retry, event in streams:
        assert RETRY[0] <= int(retry.removeprefix(b"retry: ")) <= RETRY[1]
        assert json.loads(event.removeprefix(b"data: "))["tag"] == "1"


async def test_whom_nothing_can_be_shown_leave_nothing_behind() -> None:
    channels = Channels(lambda: False, 0.01)

    async def look() -> Rendition:
        raise NotFound("there is no such view")

    for _ in range(2):
        with pytest.raises(NotFound):
            await channels.follow("view", "", "", look)

    async def shows() -> Rendition:
        return edition("1")

    events = await channels.follow("view", "1", edition("1").shape, shows, 1)
    assert len([event async for event in events]) == len(("retry", "news"))


async def test_a_stream_may_end_after_some_events(desk: Desk) -> None:
    """Where a proxy holds events back until the end, the page asks for one at a time."""
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    page = await look(desk)
    found = re.search(r'data-stream="([^"]+)" data-tag="([^"]+)"', page)
    assert found
    stream, tag = map(unescape, found.groups())
    answer = await desk.client.get(f"{stream}&limit=1&tag={quote(tag)}")
    assert answer.headers["content-type"].startswith("text/event-stream")
    retry, event = answer.text.strip().split("\n\n")
    assert retry.startswith("retry: ")
    assert json.loads(event.removeprefix("data: "))["parts"] == {}
    # Who has another edition hears all of the next one.
    whole = await desk.client.get(f"{stream}&limit=1&tag=another")
    told = json.loads(whole.text.split("data: ")[1])
    assert told["tag"] == tag
    assert "未落实" not in told["parts"]["headline"]
    assert "600" in told["parts"]["headline"]


async def test_the_page_tells_when_everybody_would_be_accounted_for(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    assert "nobody is being sampled" in await look(desk)


NOON = datetime(2022, 1, 14, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sampled", "left", "hours"),
    [(60, 120, 1), (60, 0, 0), (0, 120, None), (1, 4, 2)],
    ids=["an hour at 120 an hour", "nobody is left", "nobody was sampled lately", "slowly"],
)
def test_the_pace_is_that_of_the_last_half_hour(
    sampled: int, left: int, hours: float | None
) -> None:
    long_ago = Point(NOON - timedelta(hours=2), 1000, 1000)
    points = [long_ago, *([Point(NOON - timedelta(minutes=10), sampled, 0)] if sampled else [])]
    expected = None if hours is None else NOON + timedelta(hours=hours)
    assert finishing(points, left, NOON) == expected


async def test_pages_are_sent_compressed_and_read_the_same(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    plain = await desk.client.get("/", headers={"Accept-Encoding": "identity"})
    files = re.findall(r'(?:src|href)="(/page/[^"]+\.(?:css|js))"', plain.text)
    for address in ("/", *files):
        packed = await desk.client.get(address, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip", address
        assert "Accept-Encoding" in packed.headers["vary"]
        assert int(packed.headers["content-length"]) < len(packed.content) / 2
    assert "content-encoding" not in plain.headers
    assert "Accept-Encoding" in plain.headers["vary"]


async def test_a_stream_is_not_held_back_to_be_compressed() -> None:
    routes = APIRouter(route_class=Packed)

    @routes.get("/stream")
    async def get_stream() -> Response:
        async def events() -> AsyncIterator[bytes]:
            for _ in range(2):
                yield b"data: " + b"x" * 5_000 + b"\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    app = FastAPI()
    app.include_router(routes)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://reporting"
    ) as client:
        answer = await client.get("/stream", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert len(answer.content) == 2 * 5_008
