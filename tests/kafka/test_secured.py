"""TLS and passwords on the way to Apache Kafka: who comes in, who does not, and what then."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local.kafka import Kafka
from shared.errors import TransientError
from shared.kafka import KafkaSettings, Publisher, Security, Subscriber
from tests.journeys.test_day import lives
from tests.journeys.test_stack import applied
from tests.kafka.doors import EXPIRED, MUTUAL, OPEN, USERS, Doors, enrol, environment
from tests.kafka.ends import publishing, read, records, subscribed
from tests.kafka.watching import assert_all_is_on_kafka
from tests.support.certificates import Authority
from tests.support.live import live
from tests.support.stack import START, running
from tests.support.town import LUYUAN
from tests.support.waiting import eventually

PASSWORD = "诸葛-卧龙"  # noqa: S105 - of users who live as long as a test
Visitor = Callable[[Doors], Security]


@pytest.fixture
def topic() -> str:
    return f"registry.{uuid4().hex}.v1"


@pytest.fixture
def user(one_broker: Kafka) -> str:
    """A user with a password by either kind of SCRAM."""
    name = f"user-{uuid4().hex}"
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        enrol(one_broker.bootstrap, name, PASSWORD, mechanism)
    return name


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_user_with_a_password_comes_in_by_tls(
    one_broker: Kafka, doors: Doors, user: str, mechanism: str, topic: str
) -> None:
    security = doors.user(user, doors.secret(user, PASSWORD), mechanism)
    await go_and_come(KafkaSettings(one_broker.at(USERS), security=security), topic)


async def test_a_user_with_a_plain_password_comes_in_by_tls(
    one_broker: Kafka, doors: Doors, topic: str
) -> None:
    security = doors.user("plain", doors.secret("plain", doors.plain), "PLAIN")
    await go_and_come(KafkaSettings(one_broker.at(USERS), security=security), topic)


async def test_a_user_comes_in_by_the_open_door(
    one_broker: Kafka, doors: Doors, user: str, topic: str
) -> None:
    password = doors.secret(user, PASSWORD)
    security = Security("sasl_plaintext", "SCRAM-SHA-512", user, password)
    await go_and_come(KafkaSettings(one_broker.at(OPEN), security=security), topic)


async def test_a_certificate_is_let_in_and_may_be_renewed(
    one_broker: Kafka, doors: Doors, topic: str
) -> None:
    settings = KafkaSettings(one_broker.at(MUTUAL), security=doors.bearer("renewed"))
    await go_and_come(settings, topic)
    async with publishing(settings, topic) as publisher:
        doors.bearer("renewed")
        with pytest.raises(TransientError, match="connect anew"):
            await publisher.publish(records(topic, 1, 1))
    await go_and_come(settings, topic, 4)


async def go_and_come(settings: KafkaSettings, topic: str, first: int = 1) -> None:
    """Publish as the relay does, read as a worker does."""
    sent = records(topic, first, first + 2)
    async with publishing(settings, topic) as publisher:
        await publisher.publish(sent)
    async with subscribed(settings, topic) as subscriber:
        assert await read(subscriber, len(sent)) == sent
        await subscriber.commit()


def a_stranger(doors: Doors) -> Authority:
    folder = doors.folder / uuid4().hex
    folder.mkdir()
    return Authority(folder)


@pytest.mark.parametrize(
    ("door", "visitor", "reason"),
    [
        pytest.param(
            USERS,
            lambda doors: doors.user("plain", doors.secret("wrong", "wrong"), "PLAIN"),
            "SaslAuthenticationFailed",
            id="a wrong password",
        ),
        pytest.param(
            USERS,
            lambda doors: doors.user("nobody", doors.secret("wrong", "wrong")),
            "SaslAuthenticationFailed",
            id="nobody we know",
        ),
        pytest.param(
            USERS,
            lambda doors: doors.user("plain", doors.folder / "none"),
            "file with the password for the broker cannot be read",
            id="no password file",
        ),
        pytest.param(
            MUTUAL,
            lambda doors: Security("ssl", ca_file=a_stranger(doors).certificate),
            "refused: unable to get local issuer certificate",
            id="an authority that we do not know",
        ),
        pytest.param(
            EXPIRED,
            lambda doors: Security("ssl", ca_file=doors.authority.certificate),
            "refused: certificate has expired",
            id="a certificate of yesterday",
        ),
        pytest.param(
            MUTUAL,
            lambda doors: Security("ssl", ca_file=doors.authority.certificate),
            "hangs up on us",
            id="no certificate of ours",
        ),
        pytest.param(
            MUTUAL,
            lambda doors: Security(
                "ssl",
                ca_file=doors.authority.certificate,
                cert_file=a_stranger(doors).vouch("lastmetre").both,
            ),
            "hangs up on us",
            id="a certificate that the broker does not know",
        ),
        pytest.param(USERS, lambda _: Security(), "hangs up on us", id="no TLS"),
        pytest.param(OPEN, lambda _: Security(), "may want a user", id="no user"),
        pytest.param(
            OPEN,
            lambda doors: doors.user("plain", doors.secret("plain", doors.plain), "PLAIN"),
            "broker: ",
            id="TLS where there is none",
        ),
    ],
)
async def test_who_is_not_let_in_is_told_why(
    one_broker: Kafka, doors: Doors, topic: str, door: str, visitor: Visitor, reason: str
) -> None:
    settings = KafkaSettings(one_broker.at(door), security=visitor(doors))
    with pytest.raises(TransientError, match=reason):
        await Publisher(settings, "registry").connect([topic])
    with pytest.raises(TransientError, match=reason):
        await Subscriber(settings, topic, [topic]).connect()


async def test_a_password_that_is_rotated_is_taken_up_by_both_ends(
    one_broker: Kafka, doors: Doors, user: str, topic: str
) -> None:
    password = doors.secret(user, PASSWORD)
    settings = KafkaSettings(one_broker.at(USERS), security=doors.user(user, password))
    async with publishing(settings, topic) as publisher, subscribed(settings, topic) as subscriber:
        sent = records(topic, 1, 2)
        await publisher.publish(sent)
        assert await read(subscriber, len(sent)) == sent
        await subscriber.commit()
        enrol(one_broker.bootstrap, user, "another")
        with pytest.raises(TransientError, match="SaslAuthenticationFailed"):
            await Publisher(settings, "registry").connect([topic])
        doors.secret(user, "another")
        with pytest.raises(TransientError, match="connect anew"):
            await publisher.publish(records(topic, 3, 4))
        with pytest.raises(TransientError, match="connect anew"):
            await subscriber.poll()
    await go_and_come(settings, topic, 3)


async def test_with_a_wrong_password_the_day_goes_on_until_it_is_put_right(
    emptied: Kafka, doors: Doors, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = doors.secret(user, "wrong")
    for name, value in environment(doors.user(user, password)).items():
        monkeypatch.setenv(name, value)
    data, kafka = tmp_path / "data", ("--kafka", emptied.at(USERS))

    def says(process: str, words: str) -> bool:
        return words in (data / "logs" / f"{process}.log").read_text()

    async with running(tmp_path / "state", data, *kafka) as up, live(up) as town:
        walker, _ = await town.people(lives(LUYUAN), lives(LUYUAN))
        round_id = await town.round()
        await town.tick(round_id, 2)
        await town.results(town.result(round_id, walker))
        await town.expect(round_id, roll=2, sampled=1, unaccounted=1)
        assert await applied(up, "reporting worker", "kafka") == 0
        assert await applied(up, "reporting worker", "pull") > 0
        for process in ("registry-relay", "reporting-worker"):
            await eventually(partial(says, process, "broker: SaslAuthenticationFailed"))

        doors.secret(user, PASSWORD)
        await eventually(lambda: says("reporting-worker", "kafka_joined"), START)
        await assert_all_is_on_kafka(up, emptied.bootstrap)
        for log in (data / "logs").iterdir():
            assert PASSWORD not in log.read_text()
