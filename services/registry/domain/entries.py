"""Samples and results as they are sent in."""

import hashlib
from datetime import datetime
from uuid import UUID

import msgspec

from services.registry.domain.documents import Document
from services.registry.domain.rounds import Round
from shared.contracts.vocabulary import Channel, Outcome


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One row sent in: a swab, and perhaps a report about it.

    `sample` names the swab, `result` this one report; both ids are made by the sender. Without an
    outcome the row records the swab alone.
    """

    ordinal: int
    sample: UUID
    result: UUID | None
    resident: UUID | None
    document: Document | None
    round: UUID
    sampled_at: datetime
    channel: Channel
    site: str | None = None
    tube_code: str | None = None
    outcome: Outcome | None = None
    resulted_at: datetime | None = None
    released_at: datetime | None = None
    corrects: UUID | None = None
    void: bool = False

    @property
    def id(self) -> UUID:
        """What makes a repeat of this row a duplicate."""
        return self.result or self.sample

    def swab_digest(self, resident: UUID) -> int:
        """Digest of the swab: a second report about it must agree on all of this."""
        return digest_of(
            resident, self.round, self.sampled_at, self.channel, self.site, self.tube_code
        )

    def digest(self, resident: UUID) -> int:
        """Digest of the whole row: the same id with another digest is not a repeat."""
        return digest_of(
            resident, self.round, self.sample, self.sampled_at, self.channel, self.site,
            self.tube_code, self.outcome, self.resulted_at, self.released_at, self.corrects,
            self.void,
        )  # fmt: skip

    def check(self, where: Round, now: datetime) -> None:
        """Check the row against its round.

        Raises:
            ProblemError: the rule that it breaks (RoundNotOpen, OutsideWindow, FromTheFuture).

        """
        where.check_sample(self.sampled_at, now)
        if self.resulted_at is not None:
            where.check_past("resulted_at", self.resulted_at, now)
        if self.released_at is not None:
            where.check_past("released_at", self.released_at, now)


def digest_of(*content: object) -> int:
    """64 bits of BLAKE2b: enough to tell repeats from reused ids, small enough to keep for ever."""
    # msgpack writes a moment the same in every offset: dispatch repeats in UTC what came in +08:00.
    packed = msgspec.msgpack.encode(content)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), signed=True)
