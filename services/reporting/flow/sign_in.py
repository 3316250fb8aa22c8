"""Somebody signs in to the page with a token, or with a link that is good once."""

from datetime import UTC, datetime

from services.reporting.store import sign_ins
from shared.auth import Token
from shared.database import Transaction


async def sign_in(tx: Transaction, token: Token) -> bool:
    """Admit a token; one with an id of its own (`jti`) once only."""
    if token.id is None:
        return True
    return await sign_ins.use(tx, token.id, datetime.fromtimestamp(token.expires, UTC))
