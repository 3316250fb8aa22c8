"""What the routes share: the wiring, and the shapes of parameters."""

from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from services.dispatch.wiring import Wiring


async def _wiring(request: Request) -> Wiring:
    return cast("Wiring", request.app.state.wiring)


WiringDep = Annotated[Wiring, Depends(_wiring)]

_CODE = "^[0-9]{2,12}$"
_NAME = r"^[\w.:-]{1,64}$"

RoundQuery = Annotated[str | None, Query(alias="round", min_length=1, max_length=64)]
OfficeQuery = Annotated[
    str | None, Query(pattern=_CODE, description="office, or any area by the start of its code")
]
RoundId = Annotated[str, Path(min_length=1, max_length=64)]
ResidentId = Annotated[str, Path(min_length=1, max_length=64)]
TeamQuery = Annotated[str | None, Query(pattern=_NAME)]
TeamId = Annotated[str, Path(pattern=_NAME, description="made by the client")]


class Body(BaseModel):
    """A request body; members we do not know are refused, not passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: object) -> object:
        # PostgreSQL has no U+0000 in text.
        if isinstance(value, str) and "\0" in value:
            raise PydanticCustomError("nul", "text must not hold the character U+0000")
        return value


class Reply(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)
