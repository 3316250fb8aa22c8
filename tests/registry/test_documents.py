"""Identity documents: typed in many ways, found as one; what their numbers say of their bearers."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from services.registry.domain.documents import Document, DocumentType
from services.registry.domain.errors import BadDocument
from services.registry.vault import Vault
from tests.registry.words import lives, register, ric, told
from tests.support.town import JSON, Town

WOMAN, MAN = ric("41017119500301002"), ric("81000019900101001")

TYPED: list[tuple[DocumentType, str, list[str]]] = [
    ("cn_ric", WOMAN, [f" {WOMAN[:6]} {WOMAN[6:14]}-{WOMAN[14:]} ", WOMAN.lower()]),
    # Full-width letters and digits, as Chinese keyboards type them.
    ("cn_ric", WOMAN, ["".join(chr(ord(c) + 0xFEE0) for c in WOMAN)]),
    ("passport", "E12345678", ["e12345678", "E 1234 5678", "E-12345678", "\uff2512345678"]),
    # The last two of eleven count renewals: the person keeps the first nine for life.
    (
        "hk_macau_permit",
        "H12345678",
        ["h12345678", "H1234567800", "H12345678 01", "H12345678\N{EN DASH}02"],
    ),
    ("hk_macau_permit", "M87654321", ["M8765432103"]),
    # Booklets until 2008 print how often one was issued, and by whom.
    (
        "taiwan_permit",
        "12345678",
        ["1234567801", "1234567801(B)", "1234567802\uff08D\uff09", "1234567801b"],
    ),
    ("other", "军字第2001988号", ["军字第 2001988 号", "军字第-2001988号"]),
]


@pytest.mark.parametrize(("kind", "number", "typed"), TYPED)
def test_however_it_is_typed_it_is_the_same_document(
    keys_file: Path, kind: DocumentType, number: str, typed: list[str]
) -> None:
    vault, document = Vault(keys_file), Document.of(kind, number)
    assert document.number == number
    for other in typed:
        assert Document.of(kind, other) == document
        assert vault.index(Document.of(kind, other)) == vault.index(document)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("cn_ric", ric("41017117500301002")),
        ("cn_ric", ric("41017119500230002")),
        ("cn_ric", WOMAN[:-1] + ("1" if WOMAN[-1] != "1" else "2")),
        # Numbers of the first generation: out of use since 2013.
        ("cn_ric", "410171500301002"),
        ("passport", "E123"),
        ("passport", "E12345678901234567"),
        ("passport", "PASSPORT"),
        ("passport", "E1234/5678"),
        ("hk_macau_permit", "12345678"),
        ("hk_macau_permit", "A12345678"),
        ("hk_macau_permit", "H123456789"),
        ("taiwan_permit", "1234567"),
        ("taiwan_permit", "123456789"),
        ("taiwan_permit", "T12345678"),
        ("taiwan_permit", "١٢٣٤٥٦٧٨"),
        ("other", " - "),
        ("other", "\u200b"),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_rule_and_not_repeated(
    kind: DocumentType, number: str
) -> None:
    with pytest.raises(BadDocument) as refused:
        Document.of(kind, number)
    assert refused.value.detail.startswith(f"id_document.number: {kind} has ")
    assert len(number) < len("E123") or number not in refused.value.detail


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.integers(0, 999))
def test_a_check_digit_is_what_iso_7064_says(born: date, order: int) -> None:
    number = f"{410100 + order}{born:%Y%m%d}{order:03d}"
    for digit in "0123456789X":
        if mod_11_2.is_valid(number + digit):
            assert Document.of("cn_ric", number + digit).number == number + digit
        else:
            with pytest.raises(BadDocument):
                Document.of("cn_ric", number + digit)


def test_a_number_says_when_its_bearer_was_born_and_the_sex() -> None:
    woman, man = Document.of("cn_ric", WOMAN), Document.of("cn_ric", MAN)
    assert [(str(d.birth_date), d.sex) for d in (woman, man)] == [
        ("1950-03-01", "female"), ("1990-01-01", "male"),
    ]  # fmt: skip
    passport = Document.of("passport", "E12345678")
    assert (passport.birth_date, passport.sex) == (None, None)


async def filed(town: Town, **row: Any) -> tuple[JSON, JSON]:
    """What a row is told, and the resident it made or changed."""
    (told_,) = (await register(town, lives(name="王秀英") | row))["rows"]
    answer = await town.registry.get(f"/v1/residents/{told_['id']}", headers=town.headers("office"))
    found: JSON = answer.json()
    return told_, found


async def test_what_is_left_out_is_read_from_the_number(town: Town) -> None:
    row = {"id_document": {"type": "cn_ric", "number": WOMAN}}
    answer, resident = await filed(town, **row)
    assert (resident["birth_date"], resident["sex"]) == ("1950-03-01", "female")
    assert "doubts" not in answer
    again, _ = await filed(town, **row)
    assert again["status"] == "duplicate"


async def test_a_contradiction_is_filed_and_told_and_loses_nobody(town: Town) -> None:
    row: JSON = {"id_document": {"type": "cn_ric", "number": WOMAN}, "birth_date": "1950-02-27"}
    answer, resident = await filed(town, **row, sex="male")
    assert (answer["status"], answer["doubts"]) == ("accepted", ["birth_date", "sex"])
    # What was said stays said: nobody here knows which of the two was mistyped.
    assert (resident["birth_date"], resident["sex"]) == ("1950-02-27", "male")
    assert resident["doubts"] == ["birth_date", "sex"]
    answer, resident = await filed(town, **row, sex="female")
    assert (answer["changed"], answer["doubts"]) == (["sex"], ["birth_date"])
    answer, resident = await filed(town, **row | {"birth_date": None}, sex="female")
    assert ("doubts" in answer, resident.get("birth_date")) == (False, None)


async def test_the_next_card_of_the_same_person_finds_them(town: Town) -> None:
    numbers = ("H1234567800", "H12345678")
    first, renewed = ({"type": "hk_macau_permit", "number": number} for number in numbers)
    answer = await register(
        town, lives(name="陈大文", id_document=first), {"id_document": renewed, "phone": "1"}
    )
    assert told(answer) == ["accepted", "accepted"]
    assert len({row["id"] for row in answer["rows"]}) == 1


async def test_r20_a_conflict_names_the_rule_and_never_the_number(town: Town) -> None:
    numbers = [{"type": "passport", "number": f"CANARY{n}"} for n in range(3)]
    one, other = await town.people(*(lives(id_document=number) for number in numbers[:2]))
    answer = await register(
        town,
        {"id": str(one), "id_document": numbers[1]},
        {"id_document": {"type": "hk_macau_permit", "number": "CANARY3"}},
        {"id": str(other), "id_document": numbers[2]},
    )
    assert told(answer) == ["identity-conflict", "bad-document", "accepted"]
    assert "CANARY" not in json.dumps(answer)
