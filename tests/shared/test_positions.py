"""The judgement of what comes next: whatever a broker does, the run is the one continuation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.envelope import Record
from shared.contracts.registry import ROLL
from shared.outbox import NIL, Head
from shared.positions import Position, diverged, judge

AT = datetime(2022, 1, 14, tzinfo=UTC)
OURS, FOREIGN = UUID(int=7), UUID(int=8)


def history(length: int, *, incarnation: UUID = OURS, salt: int = 0) -> list[Record]:
    """So many records of one life of a producer."""
    ids = [NIL, *(UUID(int=1000 * salt + pos + 100) for pos in range(1, length + 1))]
    return [
        Record(ROLL, 0, pos, ids[pos], ids[pos - 1], incarnation, "t", AT, b"")
        for pos in range(1, length + 1)
    ]


def at(pos: int, records: Sequence[Record], incarnation: UUID = OURS) -> Position:
    """A position at which the first `pos` records are applied."""
    last_id = records[pos - 1].id if pos else NIL
    return Position(ROLL, 0, pos, last_id, incarnation, None)


def head(pos: int, event: UUID = NIL, incarnation: UUID = OURS) -> Head:
    return Head(ROLL, 0, pos, event, incarnation, None)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_comes_only_the_chained_continuation_is_run(data: st.DataObject) -> None:
    true = history(12)
    foreign = history(12, incarnation=FOREIGN, salt=1)
    applied = data.draw(st.integers(0, 12))
    came = data.draw(st.lists(st.sampled_from(true + foreign), max_size=30))

    verdict = judge(at(applied, true), came)

    assert list(verdict.run) == true[applied : applied + len(verdict.run)]
    assert not verdict.broken
    # What ended the run: a record from beyond the next one, or nothing more of use.
    reached = applied + len(verdict.run)
    ours = [record for record in came if record.incarnation == OURS]
    if verdict.gap:
        assert any(record.pos > reached + 1 for record in ours)
    else:
        assert all(record.pos <= reached for record in ours)


@given(st.integers(0, 11), st.integers(0, 11), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_what_comes_in_order_with_repeats_is_run_to_its_end(
    applied: int, since: int, random: Random
) -> None:
    true = history(12)
    came: list[Record] = []
    for record in true[min(since, applied) :]:
        came.append(record)
        if random.random() < 0.5:  # a zombie repeats something older
            came.append(random.choice(true[: record.pos]))

    verdict = judge(at(applied, true), came)

    assert list(verdict.run) == true[applied:]
    assert (verdict.gap, verdict.broken) == (False, False)


@given(st.integers(1, 10), st.integers(0, 10))
@settings(max_examples=100, deadline=None)
def test_a_broken_chain_is_reported_where_it_breaks(applied: int, intact: int) -> None:
    true = history(21)
    turn = applied + intact  # the last position both histories share
    other = [*true[:turn], *history(21, salt=2)[turn:]]

    verdict = judge(at(applied, true), other[applied:])

    assert list(verdict.run) == true[applied:turn]
    assert (verdict.gap, verdict.broken) == (False, True)


def test_nothing_is_ours_before_we_know_whom_we_follow() -> None:
    records = history(3)
    verdict = judge(Position(ROLL, 0, 0, NIL, NIL, None), records)
    assert (list(verdict.run), verdict.gap, verdict.broken) == ([], False, False)


def test_a_repeated_position_of_another_history_is_dropped_like_any_repeat() -> None:
    true = history(3)
    verdict = judge(at(3, true), [replace(true[1], id=uuid4())])
    assert (list(verdict.run), verdict.gap, verdict.broken) == ([], False, False)


TRUE = history(5)


@pytest.mark.parametrize(
    ("position", "seen", "expected"),
    [
        pytest.param(at(0, TRUE, NIL), head(0), False, id="nobody met yet"),
        pytest.param(at(0, TRUE, NIL), head(5, TRUE[4].id), False, id="a producer met late"),
        pytest.param(at(0, TRUE), head(0), False, id="nothing announced yet"),
        pytest.param(at(0, TRUE), head(5, TRUE[4].id), False, id="nothing applied yet"),
        pytest.param(at(0, TRUE), head(0, incarnation=FOREIGN), True, id="another life, from 0"),
        pytest.param(at(3, TRUE), head(5, TRUE[4].id), False, id="behind"),
        pytest.param(at(5, TRUE), head(5, TRUE[4].id), False, id="at the head"),
        pytest.param(at(5, TRUE), head(5, uuid4()), True, id="equal position, other id"),
        pytest.param(at(5, TRUE), head(4, TRUE[3].id), True, id="a head that went back"),
        pytest.param(at(5, TRUE), head(0), True, id="a head that went back to nothing"),
        pytest.param(at(5, TRUE), head(9, uuid4(), FOREIGN), True, id="another life"),
    ],
)
def test_a_head_that_contradicts_us(position: Position, seen: Head, *, expected: bool) -> None:
    assert diverged(position, seen) is expected
