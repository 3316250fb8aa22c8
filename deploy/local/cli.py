"""The `lastmetre` command.

What a subcommand needs is imported when it runs: `lastmetre token` must not wait for a web server
to be imported.
"""

import os
import sys
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.local.errors import LocalError

if TYPE_CHECKING:
    from deploy.local.operating import Operator
    from deploy.local.stack import Addresses, Note

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Its tracebacks show local variables, and those may be somebody's name.
    pretty_exceptions_enable=False,
    help="Lastmetre (最后一米): nobody left out. Runs the whole stack on one machine, and asks it.",
)
importing_app = typer.Typer(no_args_is_help=True, help="Send a file through the HTTP API.")
generate_app = typer.Typer(no_args_is_help=True, help="Make up people and results, as a file.")
parked_app = typer.Typer(no_args_is_help=True, help="Events that could not be applied.")
audit_app = typer.Typer(no_args_is_help=True, help="Who looked at whom, and who decided what.")
keys_app = typer.Typer(no_args_is_help=True, help="The keys that seal identity numbers.")
rebuild_app = typer.Typer(no_args_is_help=True, help="Build derived figures anew.")
adopt_app = typer.Typer(
    no_args_is_help=True, help="After a database was restored from an older backup."
)
app.add_typer(importing_app, name="import")
app.add_typer(generate_app, name="generate")
app.add_typer(parked_app, name="parked")
app.add_typer(audit_app, name="audit")
app.add_typer(keys_app, name="keys")
app.add_typer(rebuild_app, name="rebuild")
app.add_typer(adopt_app, name="adopt")


class Role(StrEnum):
    """What the bearer of a token is."""

    SITE = "site"
    TEAM = "team"
    OFFICE = "office"
    SUPERVISOR = "supervisor"
    DISTRICT = "district"
    SYSTEM = "system"
    ADMIN = "admin"


class Service(StrEnum):
    """A service that consumes events."""

    REGISTRY = "registry"
    DISPATCH = "dispatch"
    REPORTING = "reporting"


class Failure(StrEnum):
    """Why an event could not be applied."""

    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


class Kind(StrEnum):
    """What rows of a file are made into."""

    RESIDENTS = "residents"
    RESULTS = "results"


Stack = Annotated[
    str | None,
    typer.Option(
        "--stack",
        envvar="LASTMETRE_STACK",
        metavar="URL,URL,URL",
        help="registry, dispatch, reporting; default: the stack that `lastmetre up` runs",
    ),
]
Reason = Annotated[
    str, typer.Option(help="why, for those who read it later; no names, no numbers of people")
]
Registry = Annotated[
    str | None,
    typer.Option(metavar="URL", help="registry; default: that of the stack `lastmetre up` runs"),
]
Rows = Annotated[
    str | None, typer.Option(metavar="A:B", help="only these rows, from 1, both included")
]
MapFile = Annotated[
    Path | None,
    typer.Option("--map", exists=True, dir_okay=False, help="how columns become fields (TOML)"),
]
Rejects = Annotated[
    Path | None, typer.Option(dir_okay=False, help="list the rows that were not taken here (CSV)")
]
Source = Annotated[
    Path,
    typer.Argument(exists=True, dir_okay=False, help="CSV or NDJSON, also .gz or .zst; Parquet"),
]
Afresh = Annotated[
    bool, typer.Option("--afresh", help="send all, also what an import that broke off has sent")
]

Out = Annotated[
    Path,
    typer.Option(dir_okay=False, help=".csv or .ndjson, with or without .gz or .zst; .parquet"),
]
Seed = Annotated[int, typer.Option(help="the same seed invents the same")]
AtOnce = Annotated[
    int,
    typer.Option(min=1, max=32, help="batches under way; two for each process of registry's API"),
]
KeysFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="registry's file of keys")
]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="its id; letters, digits, . _ -")]


def main() -> None:
    """Run the command; what can be said in a sentence is said without a traceback."""
    try:
        app()
    except LocalError as error:
        sys.stderr.write(f"lastmetre: {error}\n")
        sys.exit(1)


@app.command()
def up(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="keep databases and encryption keys here; default: a temporary folder",
        ),
    ] = None,
    registry_port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 8001,
    dispatch_port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 8002,
    reporting_port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 8003,
    postgres: Annotated[
        str | None,
        typer.Option(metavar="URL", help="use this PostgreSQL (18 or newer); needs --data"),
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="use this Apache Kafka")
    ] = None,
) -> None:
    """Run the whole stack in the foreground, until Ctrl-C."""
    from deploy.local import supervisor

    options = supervisor.Options(
        data=data,
        ports={"registry": registry_port, "dispatch": dispatch_port, "reporting": reporting_port},
        postgres=postgres,
        kafka=kafka,
    )
    _tell("starting ...")
    status = supervisor.run(options, announce=_announce, tell=_tell)
    _tell("stopped")
    raise typer.Exit(status)


@app.command()
def demo(
    *,
    residents: Annotated[int, typer.Option(min=100, help="people in the district")] = 20_000,
    district: Annotated[str, typer.Option(help="6-digit statistics code")] = "410171",
    seed: Annotated[int, typer.Option(help="the same seed invents the same people")] = 1,
    stay: Annotated[bool, typer.Option("--stay", help="keep the stack up afterwards")] = False,
    attach: Annotated[
        str | None,
        typer.Option(
            metavar="URL,URL,URL",
            help="play it as the next round of this stack: registry, dispatch, reporting",
        ),
    ] = None,
) -> None:
    """Load a district, play a testing day in it, show coverage and ledger."""
    from deploy.local.stack import Addresses

    if attach is not None:
        raise typer.Exit(_play(Addresses.parse(attach), residents, district, seed))
    from deploy.local import supervisor

    _tell("starting PostgreSQL, the broker and the three services ...")
    status = supervisor.run(
        supervisor.Options(),
        guest=lambda addresses: _play(addresses, residents, district, seed),
        stay=stay,
        announce=_announce if stay else lambda _: None,
        tell=_tell,
    )
    raise typer.Exit(status)


@app.command()
def kafka(
    *,
    data: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="keep topics here; default: a temporary folder"),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="of the first broker; 0: any free one")
    ] = 9092,
    brokers: Annotated[int, typer.Option(min=1, max=5, help="from 3 on, three copies")] = 1,
) -> None:
    """Run Apache Kafka in the foreground, until Ctrl-C; needs Java, and `make kafka` once."""
    from deploy.local import kafka

    kafka.run(data, brokers=brokers, port=port, tell=_tell)
    _tell("stopped")


@app.command()
def prometheus(
    *,
    data: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="keep series here; default: a temporary folder"),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 9090,
) -> None:
    """Run Prometheus over the stack that is up, with our rules, until Ctrl-C."""
    from deploy.local import prometheus

    prometheus.run(data, port=port, tell=_tell)
    _tell("stopped")


@importing_app.command("residents")
def import_residents(
    file: Source,
    *,
    registry: Registry = None,
    map_file: MapFile = None,
    rows: Rows = None,
    area: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="send the areas of this district or city first"),
    ] = None,
    rejects: Rejects = None,
    at_once: AtOnce = 2,
    afresh: Afresh = False,
) -> None:
    """Send residents; running it again is harmless, and goes on where it broke off."""
    from deploy.local import importing

    order = importing.Order(
        "residents", file, map_file, area=area, rejects=rejects, at_once=at_once, afresh=afresh
    )
    raise typer.Exit(
        importing.command(order, rows=rows, registry=_registry(registry), token=_given_token())
    )


@importing_app.command("results")
def import_results(
    file: Source,
    *,
    registry: Registry = None,
    map_file: MapFile = None,
    round_id: Annotated[
        str | None, typer.Option("--round", help="the round they belong to")
    ] = None,
    rows: Rows = None,
    only: Annotated[Kind | None, typer.Option(help="of a map that makes both, only these")] = None,
    rejects: Rejects = None,
    at_once: AtOnce = 2,
    afresh: Afresh = False,
) -> None:
    """Send samples and results; running it again is harmless, and goes on where it broke off."""
    from deploy.local import importing

    order = importing.Order(
        "results", file, map_file, round_id,
        only=only.value if only else None, rejects=rejects, at_once=at_once, afresh=afresh,
    )  # fmt: skip
    raise typer.Exit(
        importing.command(order, rows=rows, registry=_registry(registry), token=_given_token())
    )


@importing_app.command("areas")
def import_areas(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="a GeoJSON FeatureCollection")
    ],
    *,
    registry: Registry = None,
    code: Annotated[
        str, typer.Option(metavar="PROPERTY", help="which says the statistics code of an area")
    ] = "code",
    name: Annotated[
        str | None,
        typer.Option(metavar="PROPERTY", help="which says its name; default: the one registry has"),
    ] = None,
) -> None:
    """Send areas with their borders; too fine ones are simplified, all together."""
    from deploy.local import geojson

    geojson.command(file, code=code, name=name, registry=_registry(registry), token=_given_token())


@generate_app.command("residents")
def generate_residents(
    *,
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="people")] = 1_000_000,
    district: Annotated[
        str, typer.Option(help="beginning of the statistics codes they live in; 4101: the city")
    ] = "410171",
    seed: Seed = 1,
) -> None:
    """Make up people who live all over a district or a city."""
    from rich.console import Console

    from deploy.local import generating
    from deploy.local.population import Population

    made = generating.residents(out, Population(count, district, seed), Console(stderr=True))
    _tell(f"written  {made:,} residents to {out}")
    _tell(f"next     lastmetre import residents {out} --area {district}")


@generate_app.command("results")
def generate_results(
    *,
    out: Out,
    residents: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="the file of those who are sampled")
    ],
    round_id: Annotated[str, typer.Option("--round", help="the round they are sampled in")],
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="of sampling; RFC 3339")],
    until: Annotated[str, typer.Option(metavar="TIME", help="of sampling; RFC 3339")],
    share: Annotated[float, typer.Option(min=0, max=1, help="of the people")] = 1.0,
    hours: Annotated[float, typer.Option(min=0, help="from sampling to the result")] = 4.0,
    seed: Seed = 1,
) -> None:
    """Make up a sample and its result for each of the residents of a file, or for a share."""
    from deploy.local import generating

    try:
        begin, end = datetime.fromisoformat(since), datetime.fromisoformat(until)
    except ValueError as error:
        raise typer.BadParameter(f"a time is 2022-01-09T08:00:00+08:00: {error}") from error
    wanted = generating.Results(round_id, begin, end, share, timedelta(hours=hours), seed)
    made = generating.results(out, residents, wanted)
    _tell(f"written  {made:,} results to {out}")
    _tell(f"next     lastmetre import results {out}")


@app.command()
def token(
    *,
    role: Annotated[list[Role], typer.Option(help="may be given several times")],
    area: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE",
            help="statistics code or its beginning, 2-12 digits; may be given several times;"
            " default: the whole country",
        ),
    ] = None,
    team: Annotated[str | None, typer.Option(help="the bearer's team")] = None,
    site: Annotated[str | None, typer.Option(help="the bearer's site")] = None,
    sub: Annotated[str, typer.Option(help="who the bearer is")] = "development",
    ttl: Annotated[float, typer.Option(min=0.001, help="hours until it expires")] = 24.0,
) -> None:
    """Print a development token, which `lastmetre up` trusts."""
    from deploy.local import tokens

    typer.echo(
        tokens.development_token(
            [each.value for each in role],
            area or tokens.EVERYWHERE,
            team=team,
            site=site,
            sub=sub,
            ttl=timedelta(hours=ttl),
        )
    )


@app.command()
def page(
    *,
    role: Annotated[Role, typer.Option(help="what you are")] = Role.DISTRICT,
    area: Annotated[
        str, typer.Option(metavar="CODE", help="what you answer for: a code or its beginning")
    ] = "41",
) -> None:
    """Print a link to the live page of the running stack, which signs in once."""
    from deploy.local.stack import Addresses

    typer.echo(_link(Addresses.running(), role.value, area))


@app.command()
def secrets(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="made if it is not there")],
) -> None:
    """Write keys, passwords and tokens for a stack in containers; those that exist are kept."""
    from deploy.local import credentials, tokens

    written = credentials.hand_out(folder, tokens.development_issuer())
    _tell(f"written to {folder}: {', '.join(path.name for path in written)}")
    _tell("next     docker compose -f deploy/compose.yaml up --build --wait")
    _tell("keep     registry-keys: without it nobody can read an id number in that database")


@app.command()
def status(*, stack: Stack = None) -> None:
    """Tell how the services are: ready, how far behind, what is parked, and the ledger."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.status()))


@parked_app.command("list")
def parked_list(*, stack: Stack = None) -> None:
    """List parked events of all services."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.list_parked()))


@parked_app.command("show")
def parked_show(service: Service, number: int, *, stack: Stack = None) -> None:
    """Show a parked event, whole."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.show_parked(service.value, number)))


@parked_app.command("explain")
def parked_explain(service: Service, number: int, *, stack: Stack = None) -> None:
    """Say what is wrong with a parked event, what that means, and what to do about it."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.explain_parked(service.value, number)))


@parked_app.command("mend")
def parked_mend(
    service: Service,
    number: int,
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(metavar="FILE", help="the data as JSON; - is stdin")
    ],
    *,
    reason: Reason,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="try it, and leave it")] = False,
    stack: Stack = None,
) -> None:
    """Give a parked event the data it should have had; it is applied by `redrive`."""
    operator = _operator(stack)
    work = operator.mend_parked(service.value, number, file.read(), reason, dry_run=dry_run)
    raise typer.Exit(operator.run(work))


@parked_app.command("redrive")
def parked_redrive(
    service: Service,
    number: Annotated[int | None, typer.Argument()] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="all of the service, or of:")] = False,
    kind: Annotated[Failure | None, typer.Option(help="with --all")] = None,
    event: Annotated[str | None, typer.Option("--type", help="with --all")] = None,
    stack: Stack = None,
) -> None:
    """Apply a parked event now, after what was wrong has been mended; or many of them."""
    if (number is None) != every:
        raise typer.BadParameter("either a NUMBER or --all")
    operator = _operator(stack)
    if number is None:
        chosen = kind.value if kind else None
        raise typer.Exit(operator.run(operator.redrive_all_parked(service.value, chosen, event)))
    raise typer.Exit(operator.run(operator.redrive_parked(service.value, number)))


@parked_app.command("discard")
def parked_discard(service: Service, number: int, *, reason: Reason, stack: Stack = None) -> None:
    """Give a parked event up; the ledger will show what it would have counted."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.discard_parked(service.value, number, reason)))


@audit_app.command("list")
def audit_list(
    service: Service,
    *,
    who: Annotated[str | None, typer.Option(help="who did it: `sub` of their token")] = None,
    action: Annotated[str | None, typer.Option(help="what they did")] = None,
    target: Annotated[str | None, typer.Option(metavar="ID", help="to whom or what")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="most records")] = 100,
    stack: Stack = None,
) -> None:
    """List who looked at whom and who decided what, newest first."""
    asked = {"who": who, "action": action, "target": target, "since": since, "until": until}
    given = {name: value for name, value in asked.items() if value is not None}
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.list_audit(service.value, given, limit)))


@audit_app.command("verify")
def audit_verify(
    service: Annotated[Service | None, typer.Argument(help="default: all three")] = None,
    *,
    head: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="one that was kept elsewhere, from `audit_recorded`"),
    ] = None,
    stack: Stack = None,
) -> None:
    """Hold audit logs against their hashes, and name the first record that does not fit."""
    services = [service.value] if service else [each.value for each in Service]
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.verify_audit(services, head)))


@keys_app.command("status")
def keys_status(*, stack: Stack = None) -> None:
    """Tell which keys registry knows, and how many numbers are sealed under each."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.show_keys()))


@keys_app.command("add")
def keys_add(file: KeysFile, key: KeyId) -> None:
    """Make a new key and add it to the file; numbers are sealed under the current one still."""
    from deploy.local import credentials

    credentials.change_keys(file, lambda keys: keys.with_new(key))
    _tell(f"added    {key}")
    _tell(f"next     lastmetre keys use {file} {key}, once every process of registry knows it")
    _tell(f"keep     {file}: without it nobody can read what is sealed under {key}")


@keys_app.command("use")
def keys_use(file: KeysFile, key: KeyId) -> None:
    """Make a key of the file the current one."""
    from deploy.local import credentials

    credentials.change_keys(file, lambda keys: keys.using(key))
    _tell(f"current  {key}")
    _tell(f"next     lastmetre keys reseal {key}, once it is current in every process of registry")


@keys_app.command("reseal")
def keys_reseal(key: KeyId, *, stack: Stack = None) -> None:
    """Seal all numbers under the current key; go on where it was broken off."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.reseal(key)))


@keys_app.command("remove")
def keys_remove(file: KeysFile, key: KeyId, *, stack: Stack = None) -> None:
    """Take a key out of the file, if no number is sealed under it."""
    from deploy.local import credentials

    operator = _operator(stack)
    operator.run(operator.assert_unused(key))
    credentials.change_keys(file, lambda keys: keys.without(key))
    _tell(f"removed  {key}; backups of before need it still: keep the file as it was with them")


@rebuild_app.command("reporting")
def rebuild_reporting(*, stack: Stack = None) -> None:
    """Build reporting's counters anew beside the old ones, and swap."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.rebuild()))


@adopt_app.command("registry")
def adopt_registry(*, stack: Stack = None) -> None:
    """Let registry begin a new life and tell everything anew; the others go on from there."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.adopt("registry")))


@adopt_app.command("dispatch")
def adopt_dispatch(*, stack: Stack = None) -> None:
    """Let dispatch begin a new life and tell everything anew; the others go on from there."""
    operator = _operator(stack)
    raise typer.Exit(operator.run(operator.adopt("dispatch")))


def _play(addresses: "Addresses", residents: int, district: str, seed: int) -> int:
    from deploy.local import demo as day

    return day.run(addresses, residents=residents, district=district, seed=seed)


def _registry(given: str | None) -> str:
    from deploy.local.stack import Addresses

    return given or Addresses.running().registry


def _given_token() -> str | None:
    return os.environ.get("LASTMETRE_TOKEN")


def _operator(stack: str | None) -> "Operator":
    from rich.console import Console

    from deploy.local.operating import Operator
    from deploy.local.stack import Addresses
    from deploy.local.tokens import development_token

    addresses = Addresses.parse(stack) if stack else Addresses.running()
    token = _given_token() or development_token(["system", "supervisor", "admin"])
    return Operator(addresses, token, Console())


def _tell(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _link(addresses: "Addresses", role: str, area: str) -> str:
    """Make a link that signs in to the page once; browsers send what is behind the # to nobody."""
    from deploy.local.tokens import development_token

    token = development_token([role], [area], sub="page", once=True)
    return f"{addresses.reporting}/sign-in#token={token}"


def _announce(note: "Note") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("process", "address", "log", title="Lastmetre is up", title_justify="left")
    for process, address in note.operations.items():
        log = f"{process.replace(' ', '-')}.log"
        table.add_row(process, f"{address}/docs" if process.endswith("api") else address, log)
    console = Console(stderr=True)
    console.print(table)
    console.print(f"logs     {note.data}/logs", highlight=False, markup=False)
    console.print(
        f"page     {_link(note.addresses, 'district', '41')}\n"
        "next     export LASTMETRE_TOKEN=$(lastmetre token --role supervisor --area 41)\n"
        f'         curl -H "Authorization: Bearer $LASTMETRE_TOKEN"'
        f" {note.addresses.reporting}/v1/coverage?by=office\n"
        "         lastmetre status\n"
        "stop     Ctrl-C",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
