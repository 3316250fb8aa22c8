"""Times as people send them: RFC 3339, with an offset, and nothing else."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)


def _written(given: object) -> object:
    # pydantic would take numbers for seconds since 1970, of which the schema knows nothing.
    if isinstance(given, datetime) or (isinstance(given, str) and _DATE.match(given)):
        return given
    raise PydanticCustomError("date_time", "not a time as RFC 3339 writes it")


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A time of a body or of a query: RFC 3339 with an offset."""
