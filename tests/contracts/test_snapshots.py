"""The committed schemas, and the messages as they travel."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts import snapshot
from shared.contracts.cells import cells_of
from shared.contracts.dispatch import VisitsCounted
from shared.contracts.envelope import PARTITIONS, Message, partition_of
from shared.contracts.geometry import MultiPolygon, Point, Polygon
from shared.contracts.registry import (
    Change,
    CommunityCount,
    CommunityRoll,
    Hand,
    RollChanged,
    RoundTicked,
    Standing,
)
from shared.contracts.vocabulary import HandKind, Need
from tests.support.geometries import multi_polygons, points, polygons

TYPES = sorted(snapshot.MESSAGES)
UPDATE = "run `python -m shared.contracts.snapshot` and look at what it changed"

FEW = settings(max_examples=25, deadline=None)

st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
# Hypothesis does not know the bounds that msgspec keeps.
st.register_type_strategy(Point, points)
st.register_type_strategy(Polygon, polygons)
st.register_type_strategy(MultiPolygon, multi_polygons)
# Their defaults are made by a factory, which Hypothesis would pass on as it stands.
_counts = st.integers(0, 10**6)
_slots = st.dictionaries(st.integers(0, 10**7), _counts, max_size=3)
st.register_type_strategy(
    CommunityRoll,
    st.builds(CommunityRoll, needs=st.dictionaries(st.sampled_from(get_args(Need)), _counts)),
)
st.register_type_strategy(
    CommunityCount,
    st.builds(
        CommunityCount, due=st.dictionaries(st.sampled_from(get_args(HandKind)), _slots, max_size=3)
    ),
)
st.register_type_strategy(
    VisitsCounted,
    st.builds(VisitsCounted, waiting=st.dictionaries(st.text(), _slots, max_size=3)),
)


def test_committed_schemas_are_in_step_with_the_code() -> None:
    committed = {path.name: path.read_text("utf-8") for path in snapshot.FOLDER.glob("*.json")}
    assert committed == snapshot.schemas(), UPDATE


def test_writing_removes_schemas_of_messages_that_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "lastmetre.registry.forgotten.v1.json").write_text("{}")
    snapshot.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == snapshot.schemas().keys()


@pytest.mark.parametrize("name", TYPES)
def test_names_say_producer_fact_and_version(name: str) -> None:
    message = snapshot.MESSAGES[name]
    producer = message.topic.split(".", maxsplit=1)[0]
    fact = re.sub(r"(?<!^)(?=[A-Z])", "_", message.__name__).lower()
    assert name == f"lastmetre.{producer}.{fact}.v1"


@pytest.mark.parametrize("name", TYPES)
@FEW
@given(data=st.data())
def test_messages_come_back_as_they_were_sent_and_fit_their_schema(
    name: str, data: st.DataObject
) -> None:
    message: type[Message] = snapshot.MESSAGES[name]
    sent = data.draw(st.from_type(message))
    wire = msgspec.json.encode(sent)
    assert msgspec.json.decode(wire, type=message) == sent
    jsonschema.validate(msgspec.json.decode(wire), msgspec.json.schema(message))


def test_members_of_a_later_version_are_passed_over() -> None:
    later = b'{"round":"r","clock_at":"2022-01-12T08:00:00Z","added_later":{"a":[1]}}'
    told = msgspec.json.decode(later, type=RoundTicked)
    assert told == RoundTicked("r", datetime(2022, 1, 12, 8, tzinfo=UTC))


def test_a_roll_change_is_compact_on_the_wire() -> None:
    sampled_at = datetime(2022, 1, 12, 8, tzinfo=UTC)
    hand = Hand("visit", sampled_at, 3, "i")
    change = Change(
        "r1",
        2,
        Standing(klass="in_hand", hand=hand),
        Standing(klass="sampled", hand=hand, channel="site", sampled_at=sampled_at),
    )
    untouched = Change("r2", 1, Standing(), Standing())
    message = RollChanged("round", {"410171001001": [change, untouched]}, results=1)
    assert msgspec.json.decode(msgspec.json.encode(message)) == {
        "round": "round",
        "communities": {
            "410171001001": [
                [
                    "r1",
                    2,
                    {"class": "in_hand", "hand": ["visit", "2022-01-12T08:00:00Z", 3, "i"]},
                    {
                        "class": "sampled",
                        "hand": ["visit", "2022-01-12T08:00:00Z", 3, "i"],
                        "channel": "site",
                        "sampled_at": "2022-01-12T08:00:00Z",
                    },
                ],
                ["r2", 1, {}, {}],
            ]
        },
        "results": 1,
    }


def test_partitions_of_keys_never_change() -> None:
    # Positions are per partition: another hash would tear every community's history apart.
    keys = ("410171001001", "410171001002", "410171002001", "410171000000")
    assert [partition_of(key) for key in keys] == [9, 11, 7, 2]
    assert PARTITIONS == 12


@FEW
@given(standing=st.from_type(Standing))
def test_a_standing_is_counted_in_one_class_or_not_at_all(standing: Standing) -> None:
    """The four classes sum to the roll; visitors stand beside it, the departed nowhere (R2)."""
    cells = list(cells_of(standing))
    classes = {"sampled", "excluded", "in_hand", "unaccounted"} & set(cells)
    match standing.klass:
        case "visitor":
            assert cells == ["visitors"]
        case "off":
            assert cells == []
        case _:
            assert classes == {standing.klass}
            assert cells.count("roll") == 1


@FEW
@given(standing=st.from_type(Standing))
def test_sampled_resulted_and_negative_are_counted_apart(standing: Standing) -> None:
    """Only who is sampled is resulted, and only who is resulted has an outcome (R4)."""
    cells = set(cells_of(standing))
    outcomes = {"negative", "positive", "inconclusive", "invalid"} & cells
    assert len(outcomes) == ("resulted" in cells)
    assert "resulted" not in cells or "sampled" in cells
