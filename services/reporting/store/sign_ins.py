"""Sign-in links, each good once."""

from datetime import datetime

from shared.database import Transaction


async def use(tx: Transaction, token_id: str, expires_at: datetime) -> bool:
    """Use a link up; false when it was used before. Those that have expired are forgotten."""
    await tx.do("DELETE FROM sign_in WHERE expires_at < now() - interval '1 minute'")
    used = await tx.row(
        "INSERT INTO sign_in (token_id, expires_at) VALUES ($1, $2)"
        " ON CONFLICT DO NOTHING RETURNING token_id",
        token_id, expires_at,
    )  # fmt: skip
    return used is not None
