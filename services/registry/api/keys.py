"""Keys for identity numbers: which there are, and sealing under the current one. Never a key."""

from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Response

from services.registry.flow import sealing
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import json_reply
from shared.keyring import ID
from shared.openapi import openapi_reply

KeyId = Annotated[
    str, Query(pattern=ID.pattern, description="which is current, as far as the asker knows")
]


FIRST = UUID(int=0)


class KeyOut(msgspec.Struct, frozen=True):
    """A key, by its id."""

    id: str
    on_file: bool
    """Whether this process knows it; numbers under one that it does not know cannot be opened."""
    residents: int
    """Whose number is sealed under it."""


class KeysOut(msgspec.Struct, frozen=True):
    """Keys by id, as the process knows them that answers."""

    current: str
    keys: list[KeyOut]
    left: int
    """Residents whose number is sealed under another key than the current one."""


class ResealedOut(msgspec.Struct, frozen=True):
    """What was done to a stretch of residents."""

    resealed: int
    damaged: list[UUID]
    """Residents whose number no key opens; it is left as it is."""
    following: UUID | None
    """Go on from there; null: nobody follows."""


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["keys"])

    @routes.get("/v1/keys", responses=openapi_reply(KeysOut))
    async def get_keys() -> Response:
        """Tell the keys by id, and how many numbers are sealed under each; counts them all."""
        async with wiring.database.begin(readonly=True) as tx:
            sealed = await sealing.count(tx)
        current, known = wiring.vault.current, wiring.vault.ids
        keys = [
            KeyOut(each, each in known, sealed.get(each, 0)) for each in sorted({*known, *sealed})
        ]
        left = sum(key.residents for key in keys if key.id != current)
        return json_reply(KeysOut(current, keys, left))

    @routes.post("/v1/keys:reseal", responses=openapi_reply(ResealedOut))
    async def post_reseal(caller: CallerDep, key: KeyId, start: UUID = FIRST) -> Response:
        """Seal the numbers of some residents, in order of their ids, under the current key.

        Call it with `following` as `start` until that is null, and again from the first as long as
        `GET /v1/keys` says that some are `left`: who was just being written was passed over.
        """
        done = await wiring.database.transact(sealing.reseal, wiring.vault, key, start, caller)
        return json_reply(ResealedOut(done.resealed, done.damaged, done.following))

    return routes
