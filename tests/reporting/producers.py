"""registry and dispatch as reporting sees them: an outbox one can pull, and what they testify."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec

from shared.contracts.cells import cells_of
from shared.contracts.dispatch import HANDS, VISITS
from shared.contracts.envelope import PARTITIONS, Event, Message, Record, partition_of
from shared.contracts.registry import ROLL, ROUNDS, Change, CommunityRoll, Standing
from shared.contracts.vocabulary import RoundState
from shared.outbox import NIL, Head, Heads, Pulled, PulledRecord


class FakeProducer:
    """The HTTP of one service, in memory; `down` makes it unreachable."""

    def __init__(self, *topics: str) -> None:
        self.incarnation = uuid4()
        self.down = False
        self.parked: dict[str, int] = {}
        self.totals: dict[str, Any] = {}
        self.applied_hands = [0] * PARTITIONS
        self.log: dict[tuple[str, int], list[Record]] = {
            (topic, partition): [] for topic in topics for partition in range(PARTITIONS)
        }

    def announce(self, message: Message, key: str, *, age: timedelta = timedelta()) -> Event[Any]:
        """Append a message to its partition, as if recorded so long ago."""
        log = self.log[message.topic, partition_of(key)]
        record = Record(
            topic=message.topic,
            partition=partition_of(key),
            pos=len(log) + 1,
            id=uuid4(),
            prev_id=log[-1].id if log else NIL,
            incarnation=self.incarnation,
            type=message.type,
            recorded_at=datetime.now(UTC) - age,
            data=msgspec.json.encode(message),
        )
        log.append(record)
        return Event(record, msgspec.json.decode(record.data, type=type(message)))

    def heads(self, topic: str) -> list[dict[str, object]]:
        """Heads of one topic, as the totals tell them."""
        return [
            {
                "topic": name,
                "partition": partition,
                "pos": len(log),
                "id": log[-1].id if log else NIL,
                "incarnation": self.incarnation,
                "recorded_at": log[-1].recorded_at if log else None,
            }
            for (name, partition), log in self.log.items()
            if name == topic
        ]

    @property
    def transport(self) -> httpx.MockTransport:
        """Answers reporting's requests."""
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("nobody listens")
        if request.method == "PUT":
            return httpx.Response(204)
        found = self._find(request.url.path, request.url.params)
        if found is None:
            return httpx.Response(404)
        return httpx.Response(200, content=msgspec.json.encode(found))

    def _find(self, path: str, params: httpx.QueryParams) -> object:
        match path.removeprefix("/v1/").split("/"):
            case ["outbox", "heads"]:
                return Heads(self._heads())
            case ["outbox", topic, partition]:
                return Pulled(self._pulled(topic, int(partition), int(params["after"])))
            case ["status"]:
                return {"positions": self._hands_positions(), "parked": self.parked}
            case ["rounds", round_id, "totals"]:
                return self.totals.get(round_id)
            case ["hands", "totals"]:
                return self.totals.get(params["round"])
        return None

    def _heads(self) -> list[Head]:
        return [
            Head(
                topic, partition, len(log), log[-1].id if log else NIL, self.incarnation,
                log[-1].recorded_at if log else None,
            )
            for (topic, partition), log in self.log.items()
        ]  # fmt: skip

    def _pulled(self, topic: str, partition: int, after: int) -> list[PulledRecord]:
        return [
            PulledRecord(r.pos, r.id, r.prev_id, r.incarnation, r.type, r.recorded_at, r.data)
            for r in self.log[topic, partition][after:]
        ]

    def _hands_positions(self) -> list[dict[str, object]]:
        return [
            {"topic": HANDS, "partition": partition, "applied": pos, "recorded_at": None}
            for partition, pos in enumerate(self.applied_hands)
        ]


class World:
    """Both producers, and the truth about who stands where in each round."""

    def __init__(self) -> None:
        self.registry = FakeProducer(ROUNDS, ROLL)
        self.dispatch = FakeProducer(HANDS, VISITS)

    def testify(
        self,
        round_id: str,
        standings: Iterable[tuple[str, Standing]] = (),
        *,
        state: RoundState = "open",
        **hands: int,
    ) -> None:
        """Let both services tell the round's totals: a recount of standings, and open hands."""
        standings = list(standings)
        self.registry.totals[round_id] = {
            "round": round_id,
            "state": state,
            "as_of": datetime.now(UTC),
            "heads": self.registry.heads(ROLL),
            "applied": [
                {"topic": HANDS, "partition": partition, "pos": pos}
                for partition, pos in enumerate(self.registry.applied_hands)
            ],
            "communities": recount(standings),
            "series": recount_series(standings),
            "due": recount_due(standings),
            "hands": hands,
        }
        self.dispatch.totals[round_id] = {"heads": self.dispatch.heads(HANDS), "hands": hands}


def recount(standings: Iterable[tuple[str, Standing]]) -> dict[str, dict[str, int]]:
    """Count the cells of people by community, from where each stands and nothing else."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for community, standing in standings:
        found[standing.counted_in or community].update(cells_of(standing))
    return {community: dict(cells) for community, cells in found.items() if cells}


def recount_series(standings: Iterable[tuple[str, Standing]]) -> dict[str, dict[str, int]]:
    """Count the sampled by community and five minutes of sampling time."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for community, standing in standings:
        if standing.klass == "sampled" and standing.sampled_at is not None:
            slot = int(standing.sampled_at.timestamp()) // 300
            found[standing.counted_in or community][str(slot)] += 1
    return {community: dict(slots) for community, slots in found.items()}


def recount_due(standings: Iterable[tuple[str, Standing]]) -> dict[str, dict[str, dict[str, int]]]:
    """Count those in hand by community, kind and five minutes of when that is due."""
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for community, standing in standings:
        if standing.klass == "in_hand" and standing.hand is not None and standing.hand.due:
            slot = int(standing.hand.due.timestamp()) // 300
            kinds = found[standing.counted_in or community]
            kinds[str(standing.hand.kind)][str(slot)] += 1
    return {code: {kind: dict(n) for kind, n in kinds.items()} for code, kinds in found.items()}


def change(
    before: Standing | None, after: Standing, *, resident: UUID | None = None, rev: int = 1
) -> Change:
    """One person's change."""
    return Change(str(resident or uuid4()), rev, before, after)


def rolls(sizes: Mapping[str, int]) -> dict[int, list[CommunityRoll]]:
    """Rolls of communities by the partition that opens them."""
    found: dict[int, list[CommunityRoll]] = defaultdict(list)
    for community, size in sizes.items():
        found[partition_of(community)].append(CommunityRoll(community, size))
    return found
