"""The command line: the only place that prints, and that ends the process."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from .errors import HeadraceError
from .visible import visible

if TYPE_CHECKING:
    from .definitions.apply import Applied
    from .deliver import Delivery
    from .ledger import Plan
    from .load import ProgressCallback
    from .status import Status
    from .stores import Format
    from .stores.tables import TableStore
    from .sync import Rebuilt, Summary

# What loads or builds is imported by the command that needs it: dlt and dbt take seconds, and `--help` needs neither.

for stream in (sys.stdout, sys.stderr):  # whatever the locale; in a test they may be other objects
    if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")

output = Console(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def plain(value: Any) -> str:
    """A value as text that can do nothing to a terminal, whoever made it: a visitor, or who names files.

    Rich's own markup is taken as text.
    """
    return escape(visible(value))


class Headrace(click.Group):
    """Turns foreseen failures into one line and the exit status that they ask for."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # they are for who writes Python
            os.environ["PYTHONWARNINGS"] = "ignore"  # in the processes that read files, too
        threading.excepthook = _end
        sys.excepthook = _unforeseen
        try:
            return super().invoke(context)
        except HeadraceError as error:
            errors.print(f"[red]headrace:[/] {plain(error)}")
            context.exit(error.exit_status)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            from .failures import lasts

            # This machine's own: a disk that is full, a folder that can't be written.
            errors.print(f"[red]headrace:[/] {plain(error)}")
            context.exit(2 if lasts(error) else 1)


def _unforeseen(*raised: Any) -> None:
    """A failure that nobody foresaw: what it says may be what a visitor typed."""
    for line in "".join(traceback.format_exception(*raised)).splitlines():
        errors.print(plain(line))


def _end(failed: Any) -> None:
    """End the process for what was raised in a thread beside the command: it may be killed at any time."""
    error = failed.exc_value
    if isinstance(error, HeadraceError):
        errors.print(f"\n[red]headrace:[/] {plain(error)}")
        os._exit(error.exit_status)
    threading.__excepthook__(failed)


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A day, or a day and a time, in UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> datetime:
        """Read ISO 8601."""
        try:
            at = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-03-02 or 2026-03-02T14:00", param, context)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


DAY = click.DateTime(["%Y-%m-%d"])


class Variables(click.ParamType):  # type: ignore[type-arg]
    """Vars of dbt as it takes them: names and values, as YAML."""

    name = "yaml"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> dict[str, Any]:
        """Read YAML."""
        import yaml

        found = None
        with suppress(yaml.YAMLError):
            found = yaml.safe_load(str(value))
        if not isinstance(found, dict):
            self.fail(f"{value!r} is no YAML of names and values such as '{{fullstory_org_id: ABC}}'", param, context)
        return found


with_variables = click.option(
    "--vars", type=Variables(), help="Vars beside those of dbt_project.yml, for this call: '{name: value}'."
)


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time span such as 90m, 3h or 2d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> timedelta:
        """Read a number and its unit."""
        found = re.fullmatch(r"(\d+)([smhd])", str(value))
        if not found:
            self.fail(f"{value!r} is no duration such as 90m, 3h or 2d", param, context)
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[found[2]]
        return timedelta(**{unit: int(found[1])})


STORE_FORMAT = click.Choice(["parquet", "delta", "iceberg"])

as_json_option = click.option("--json", "as_json", is_flag=True, help="The closing table as JSON, for machines.")


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where to load."""
    for name, kind, words in (
        (
            "--project-dir",
            click.Path(path_type=Path),
            "Folder of the dbt project (default: this one, else the one that came along).",
        ),
        ("--profiles-dir", click.Path(path_type=Path), "Folder of profiles.yml (default: where dbt looks)."),
        ("--target", str, "Output of the dbt profile (default: the profile's own)."),
    ):
        command = click.option(name, type=kind, help=words)(command)
    return command


def on_target(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the target that the options name."""

    def with_target(target: str | None, profiles_dir: Path | None, project_dir: Path | None, **others: Any) -> None:
        from .target import read_target

        command(target=read_target(target, project_dir, profiles_dir, others.pop("vars", None)), **others)

    with_target.__doc__ = command.__doc__
    with_target.__name__ = command.__name__
    with_target.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    return with_options(with_target)


@click.group(cls=Headrace, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="headrace")
def main() -> None:
    """Product-analytics events into the warehouse, merged and ready to query.

    \b
      headrace sample feed      make a believable feed to try things on
      headrace sync feed        load what is new in it, and run the dbt build
      headrace show             a first look at what is there now
      headrace report           the same and more as an HTML file

    Where to is said once, in the profile that dbt_project.yml names; without one, in profiles.example.yml: one DuckDB
    file. `headrace init` makes a dbt project of your own, for vars and models.

    Exit status: 0 done; 1 the load or the build failed, run it again; 2 the call or the configuration is wrong;
    130 or 143 interrupted or terminated.
    """  # noqa: D301 (click takes the character \b for a paragraph that stays as it is)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def init(folder: Path) -> None:
    """Make a small dbt project of your own in FOLDER, or mend its link to the models that came along.

    For vars, models and tests of your own: headrace and dbt take it where they are called in it, or with --project-dir.
    No file that is there is written again.
    """
    from .init import init as make

    done = make(folder)
    for line in done:
        output.print(plain(line))
    output.print(plain(f"{folder}: {'`headrace sync FEED` there loads and builds' if done else 'nothing to do'}"))


@main.command()
@click.argument("feed")
@click.option("--since", type=Moment(), help="Look at all hours from this one on, not at the last two days only.")
@click.option("--all", "everything", is_flag=True, help="Look at every hour, run all data tests: once a day.")
@click.option("--dry-run", is_flag=True, help="Say what would be loaded, and stop.")
@click.option("--no-build", is_flag=True, help="Load only, and leave `dbt build` to the scheduler.")
@click.option("--to", "stores", multiple=True, help="Deliver to a bucket or folder, too, what the build changed.")
@click.option(
    "--format",
    "store_format",
    default="parquet",
    show_default=True,
    type=STORE_FORMAT,
    help="As files in the layout of Data Direct, or as tables.",
)
@as_json_option
@with_variables
@with_options
def sync(
    target: str | None,
    profiles_dir: Path | None,
    project_dir: Path | None,
    vars: dict[str, Any] | None,
    feed: str,
    since: datetime | None,
    everything: bool,
    dry_run: bool,
    no_build: bool,
    stores: tuple[str, ...],
    store_format: Format,
    as_json: bool,
) -> None:
    """Load what is new or re-created in FEED, then build the models.

    FEED is a file or a folder, on disk or in a store (s3://, gs://, az://): event files (.parquet, .ndjson, .jsonl,
    each also .gz or .zst) and definition files, in the hive layout of Data Direct or loose, or segment exports
    (.json, .ndjson, .csv). It can be killed at any time and run again, any number of times.

    With --to (s3://, gs://, az:// or a folder; more than once) a store gets what has changed in the events and the
    lookups since its last delivery, and a new one all of them. One that fails holds back nothing.
    """
    from .feed import shown
    from .idle import Call
    from .target import find_project, read_target

    to_stores = [f"{store_format} {address}" for address in stores]
    call = Call.of(feed, target, find_project(project_dir), profiles_dir, vars or {}, to_stores)
    memo = None if since or everything or dry_run else call.recall()
    if memo and memo.is_still():
        if as_json:
            from .sync import IDLE

            _print_json(IDLE.counts(), [], memo.label, 0.0)
            return
        output.print(plain(f"{shown(feed)} -> {memo.label}"))
        output.print("nothing new: the feed, the project and the database are as the last sync left them")
        return

    from . import sync as run
    from .ledger import Span
    from .stores import store_at

    to = read_target(target, project_dir, profiles_dir, vars)
    span = Span(since=since, everything=everything)
    if dry_run:
        _print_plan(run.plan(feed, to, span))
    else:
        build_models, is_quiet = not no_build, bool(memo and not memo.database)
        places = [store_at(address, store_format) for address in dict.fromkeys(stores)]
        _print_summary(
            shown(feed), as_json, lambda tell: run.sync(call, to, tell, span, build_models, is_quiet, places)
        )


@main.command()
@click.argument("feed")
@click.option("--since", type=Moment(), required=True, help="The first hour to replay.")
@click.option("--until", type=Moment(), help="The last hour to replay (default: the newest).")
@click.option("--dry-run", is_flag=True, help="Say what would be loaded, and stop.")
@as_json_option
@with_variables
@on_target
def backfill(target: Any, feed: str, since: datetime, until: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Load hours of FEED again, whatever was loaded before.

    The feed's files are the archive: this is how events are brought back. It goes in packages with a build after
    each; cut short, the same call goes on where it was.
    """
    from . import sync as run
    from .feed import shown
    from .ledger import Span

    if dry_run:
        found = run.plan(feed, target, Span(since, until, everything=True))
        _print_plan(found, also=found.unchanged)
    else:
        _print_summary(shown(feed), as_json, lambda tell: run.backfill(feed, target, tell, Span(since, until)))


@main.command()
@click.option("--since", type=DAY, required=True, help="The first day (UTC).")
@click.option("--until", type=DAY, help="The last day (default: the last that has events).")
@click.option("--dry-run", is_flag=True, help="Say which days and how many events, and stop.")
@as_json_option
@with_variables
@on_target
def rebuild(target: Any, since: datetime, until: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Make anew what is made from the events of some days: sessions, pages, elements, days.

    After a change of a var or of a model, or to repair a table. Nothing is loaded, and events stay as they are. It goes
    a few days at a time with a build for each; cut short, the next sync goes on.
    """
    from . import sync as run

    first, last = since.date(), until.date() if until else None
    if dry_run:
        found = run.days_of(target, first, last)
        for start, end in found.slices():
            output.print(f"{start} to {end}")
        output.print(f"{len(found.days):,} days with {found.events:,} events would be done again")
    else:
        _print_summary(f"since {first}", as_json, lambda tell: run.rebuild(target, tell, first, last))


@main.command()
@click.argument("names", nargs=-1, metavar="[FILE|EVENT_ID]...")
@click.option("--undo", is_flag=True, help="Leave them out no longer.")
@on_target
def skip(target: Any, names: tuple[str, ...], undo: bool) -> None:
    """Leave out a file or an event that no build gets past; without a name, list what is left out.

    FILE is its path or address, EVENT_ID the id that the feed gives or that event_batch has. From then on no build
    merges it and no sync loads it. What events has of it already stays as it is there.
    """
    from . import skip as run
    from .pipeline import connected

    if undo:
        if not names:
            raise click.UsageError("--undo wants to be told what; without it, what is left out is listed")
        for one in run.undo(target, names):
            since = f"{one.since or datetime.now(UTC):%Y-%m-%dT%H:%M}"
            output.print(f"no longer left out: {plain(one.name)}")
            output.print(f"`headrace backfill FEED --since {since}` loads what was left out meanwhile")
    elif names:
        for found in run.skip(target, names):
            output.print(f"left out: {plain(found.name)}, {found.waiting_rows:,} rows of it wait in the queue")
    else:
        with connected(target) as pipeline:
            for found in run.skipped(pipeline):
                output.print(
                    f"{plain(found.name)}, since {_ago(found.since)}, {found.waiting_rows:,} rows in the queue"
                )


@main.command()
@click.option("--format", "how", type=click.Choice(["text", "json", "prometheus"]), default="text", show_default=True)
@click.option("--json", "how", flag_value="json", help="The same as --format json.")
@click.option(
    "--max-age", type=Duration(), help="End with status 1 when what is published is older, such as 3h, or builds fail."
)
@on_target
def status(target: Any, how: str, max_age: timedelta | None) -> None:
    """Say how the target is: what is published, what waits, and what was rejected or left out."""
    from .status import status as read

    now = read(target)
    if how == "prometheus":
        from .prometheus import text

        click.echo(text(now), nl=False)
    elif how == "json":
        click.echo(json.dumps(now.as_json(), default=lambda value: value.isoformat(), indent=2))
    else:
        _print_status(now)
    problems = list(now.problems(max_age)) if max_age is not None else []
    for problem in problems:
        errors.print(f"[red]headrace:[/] {plain(problem)}")
    if problems:
        sys.exit(1)


def _print_status(now: Status) -> None:
    from .sync import NAMED_FILES

    def line(name: str, words: str) -> None:
        output.print(f"{name:<14}{plain(words)}")

    output.print(plain(now.target))
    line("published", f"up to the hour {_ago(now.newest_hour)}" if now.newest_hour else "no hour")
    line("newest event", _ago(now.newest_event))
    if now.lost:
        line("lost", f"{', '.join(now.lost[:NAMED_FILES])}: gone, empty or unreadable")
    if now.failing:
        line("builds", f"fail since {_ago(now.failing.since)} ({now.failing.builds:,}): {now.failing.message}")
    line("newest load", _ago(now.newest_load))
    since = f", the oldest since {_ago(now.queued_since)}" if now.queued_since else ""
    line("queue", f"{now.queued_loads:,} loads with {now.queued_rows:,} rows wait for a build{since}")
    for (asked, reason), requests in groupby(now.redo, key=lambda one: (one.since, one.reason)):
        days = [day for one in requests for day in (one.first_day, one.last_day)]
        line("to do again", f"{min(days)} to {max(days)}, since {_ago(asked)}: {reason}")
    line("files", ", ".join(f"{count:,} {state}" for state, count in now.files.items()) or "none")
    for feed in now.feeds:
        waiting = f"{feed.waiting_files or 0:,} files wait, {timedelta(seconds=feed.lag_seconds or 0)} behind"
        line("feed", f"{feed.feed}: {feed.problem or waiting}")
        line("", f"synced {_ago(feed.last_sync)}, listed in full {_ago(feed.last_full_listing)}")
    if now.export_until:
        cut = f"{now.export_until.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        line("exports", f"overlap the raw feed (docs/exports.md): set the var export_until: '{cut}'")
    if now.unread:
        line("not read", f"{len(now.unread):,} files:")
    for path in now.unread[:NAMED_FILES]:
        line("", path)
    for found in now.rejected[:10]:
        line("rejected", f"{found.rows:,} x {found.reason}, such as {found.place}")
    if now.wrong_clocks:
        line("wrong clocks", f"{now.wrong_clocks:,} events")
    for one in now.skipped:
        line("left out", f"{one.name}, since {_ago(one.since)}, {one.waiting_rows:,} rows in the queue")


@main.command()
@on_target
def show(target: Any) -> None:
    """Take a first look at what is in the target now."""
    from .show import show as ask

    for answer in ask(target):
        output.print(f"\n[bold]{answer.question}[/]")
        _print_table(answer.columns, answer.rows)


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="report.html",
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    default=28,
    show_default=True,
    help="So many days up to that of the newest event, beside as many before.",
)
@on_target
def report(target: Any, out: Path, days: int) -> None:
    """Write what is published as one HTML file: to open, to mail, to print.

    Whether the pipeline is well; users, sessions, pages, frustration, vitals, errors, retention; under each figure the
    query behind it. The file asks nothing of the network.
    """
    from .report import report as write

    write(target, out, days)
    output.print(plain(f"the report is in {out.absolute()}"))


@main.command()
@click.option("--loader", default="headrace_loader", show_default=True, help="Who loads.")
@click.option("--dbt", default="headrace_dbt", show_default=True, help="Who builds.")
@click.option("--reader", default="headrace_reader", show_default=True, help="Who reads what is published.")
@click.option("--apply", "is_applied", is_flag=True, help="Run the SQL, with the login of the target.")
@on_target
def setup(target: Any, loader: str, dbt: str, reader: str, is_applied: bool) -> None:
    """Print the SQL that makes schemas and grants for a target: no more than loader, dbt and readers need.

    Names are of roles on Snowflake, of users (and a role for readers) on Redshift and PostgreSQL, and on BigQuery of
    principals such as serviceAccount:loader@project.iam.gserviceaccount.com.
    """
    from .setup import apply, grants

    sql = grants(target, loader, dbt, reader)
    click.echo(sql, nl=False)
    if is_applied:
        errors.print(f"{apply(target, sql)} statements have run")


@main.group()
def definitions() -> None:
    """Named pages, elements and events: definitions.yml, or the folder `definitions`, of the dbt project."""


with_project = click.option(
    "--project-dir",
    type=click.Path(path_type=Path),
    help="Folder of the dbt project (default: this one, else the one that came along).",
)


def _definitions_of(project_dir: Path | None) -> Path:
    from .definitions import FILE_NAME, find
    from .errors import UsageError
    from .target import find_project, models

    project = find_project(project_dir)
    if found := find(project):
        return found
    if project == models():
        raise UsageError("definitions belong to a dbt project of your own: `headrace init FOLDER` makes one")
    raise UsageError(f"{project} has no {FILE_NAME}; `headrace definitions suggest` prints some to begin with")


@definitions.command()
@click.option(
    "--days",
    type=click.IntRange(1),
    help="Ask the target, too: warn of what matched nothing in so many days before its newest event, such as 30.",
)
@as_json_option
@with_variables
@with_options
def check(
    target: str | None,
    profiles_dir: Path | None,
    project_dir: Path | None,
    vars: dict[str, Any] | None,
    days: int | None,
    as_json: bool,
) -> None:
    """Say what is wrong with the definitions, by file and line.

    The exit status is 2 if something is. Two pages that a URL could both be are wrong, too: such a URL is shown. It is
    searched for, so where none is found there may be one; then the page with more fixed characters in its pattern is
    taken, and of two alike the first id.

    Without --days no warehouse is asked, as before a commit. With it the definitions must be those of the last sync.
    """
    if days is None and (target or profiles_dir):
        raise click.UsageError("without --days no warehouse is asked: name the days with --target or --profiles-dir")
    from .definitions.model import Definitions
    from .definitions.read import DefinitionsError, read, warnings
    from .definitions.shape import Problem

    path = _definitions_of(project_dir)
    problems: tuple[Problem, ...] = ()
    found = Definitions()
    try:
        found = read(path)
    except DefinitionsError as error:
        problems = error.problems
    told = warnings(found)
    if days is not None and not problems:
        from .definitions.usage import unused
        from .target import read_target

        told = sorted([*told, *unused(read_target(target, project_dir, profiles_dir, vars), found, days)])
    if as_json:
        notes = {"problems": problems, "warnings": told}
        shown = {name: [asdict(one) for one in some] for name, some in notes.items()}
        click.echo(json.dumps({"definitions": found.counts(), **shown}, indent=2))
    else:
        for problem in problems:
            errors.print(f"[red]headrace:[/] {plain(problem)}")
        for warning in told:
            errors.print(f"[yellow]headrace:[/] {plain(warning)}")
        if not problems:
            named = {name.replace("_", " "): count for name, count in found.counts().items()}
            counts = ", ".join(f"{count:,} {name[:-1] if count == 1 else name}" for name, count in named.items())
            output.print(plain(f"{path}: {counts}; nothing is wrong{', but see above' if told else ''}"))
    if problems:
        sys.exit(2)


@definitions.command("try")
@click.argument("value", metavar="URL|SELECTOR|EVENT")
@as_json_option
@with_project
def try_value(project_dir: Path | None, value: str, as_json: bool) -> None:
    """Say what a URL, a selector or an event matches, and why.

    And what it nearly matches. URL is with its scheme, SELECTOR as raw_selector has it, EVENT is a line of the feed as
    JSON, or @FILE with it. Of each kind the first that is listed is what an event is stamped with; nothing is loaded or
    changed.
    """
    from .definitions.matcher import Matcher
    from .definitions.read import read
    from .definitions.tries import tried

    text = Path(value[1:]).read_bytes().decode("utf-8-sig", "replace") if value.startswith("@") else value
    answer = tried(Matcher(read(_definitions_of(project_dir))), text)
    if as_json:
        lists = {"matches": answer.matches, "near": answer.near}
        click.echo(json.dumps({name: [vars(one) for one in some] for name, some in lists.items()}, indent=2))
        return
    for title, reasons in (("matches", answer.matches), ("nearly", answer.near)):
        for one in reasons:
            name = f" ({one.name})" if one.name and one.name != one.id else ""
            output.print(plain(f"{title:<8}  {one.kind:<9}  {one.id}{name}: {one.words}"))
    if not answer.matches:
        is_path = not text.lstrip().startswith("{") and "://" not in text
        output.print(f"matches   nothing{' (taken for a selector; a URL begins with its scheme)' if is_path else ''}")


@definitions.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="So many of each kind at most.")
@with_variables
@on_target
def suggest(target: Any, limit: int) -> None:
    """Print definitions for what has no name yet, as YAML.

    Of the most viewed pages and screens and the most clicked elements, as of the last sync. URLs that differ in ids are
    one page. Choose names and ids before you use them: ids never change.
    """
    from .definitions.suggest import as_yaml, suggest

    found = suggest(target, limit)
    click.echo(as_yaml(found), nl=False)
    if not found:
        errors.print("nothing to suggest: all pages and elements that can have a name have one")


@definitions.command()
@click.option("--since", type=DAY, required=True, help="The first day (UTC).")
@click.option(
    "--dry-run", is_flag=True, help="Say how many events each definition would win or lose, by day, and stop."
)
@as_json_option
@with_variables
@on_target
def apply(target: Any, since: datetime, dry_run: bool, as_json: bool) -> None:
    """Stamp what was loaded before by the definitions of now.

    Events are read where they lie, without the feed's files, and only those of which the stamps change. The marts name
    pages and elements by the definitions of now without this.
    """
    from . import sync as run

    if dry_run:
        with _progress() as tell:
            found = run.apply(target, tell, since.date(), is_dry=True)
        _print_moves(found, as_json)
    else:
        _print_summary(f"since {since.date()}", as_json, lambda tell: run.apply(target, tell, since.date()))


@definitions.command()
@with_variables
@on_target
def match(target: Any) -> None:
    """Name pages and elements in the marts where dbt alone is run.

    A sync does that itself. Where somebody else keeps the events, run this after `dbt build`.
    """
    from . import sync as run

    output.print(f"{run.match(target):,} values were matched")


def _print_moves(applied: Applied, as_json: bool) -> None:
    """By day and definition, how many events more or less have it."""
    moves = sorted((day, kind, name, count) for (kind, name, day), count in applied.moves.items() if count)
    if as_json:
        rows = [{"day": str(day), "kind": kind, "id": name, "events": count} for day, kind, name, count in moves]
        click.echo(json.dumps({**applied.counts(), "moves": rows}, indent=2))
        return
    for day, kind, name, count in moves:
        output.print(plain(f"{day}  {kind:<7}  {name}  {count:+,}"))
    output.print(
        f"{applied.read:,} events read; {applied.stamped:,} on {len(applied.days):,} days would be stamped anew"
    )


@main.group()
def lake() -> None:
    """What is delivered to a store, and who reads it there."""


@lake.command()
@click.argument("address")
@click.option(
    "--engine",
    required=True,
    type=click.Choice(["athena", "bigquery", "duckdb", "redshift", "snowflake", "spark", "trino"]),
    help="Who is to read it.",
)
@click.option(
    "--format",
    "file_format",
    default="parquet",
    show_default=True,
    type=STORE_FORMAT,
    help="What `sync --to` writes there.",
)
def ddl(address: str, engine: str, file_format: Format) -> None:
    """Print the SQL with which an engine reads what is delivered to ADDRESS.

    Tables over what lies there, and views on them: events in its latest versions, live_events without what is
    superseded, and the definitions. Nothing is asked of the store or of the engine.
    """
    from .stores.ddl import ddl as render

    click.echo(render(engine, address, file_format), nl=False)


@lake.command()
@click.argument("address")
@click.option("--format", "kind", required=True, type=click.Choice(["delta", "iceberg"]), help="What the tables are.")
@click.option("--keep", type=Duration(), default="7d", show_default=True, help="How long a replaced file stays.")
def maintain(address: str, kind: Format, keep: timedelta) -> None:
    """Compact the tables at ADDRESS, and remove files that no reader needs any more: once a day.

    Who reads an older version of a table needs the files that were replaced since; --keep is how long they stay, 1h at
    least, as a sync under way has files that no table knows yet.
    """
    from .errors import UsageError
    from .feed import shown
    from .stores import store_at

    if keep < timedelta(hours=1):
        raise UsageError("--keep is 1h at least: a sync under way has files that no table knows yet")
    done = cast("TableStore[Any]", store_at(address, kind)).maintain(keep)
    if not done:
        raise UsageError(f"{shown(address)}: no {kind} tables of Headrace there")
    _print_table(["table", "compacted", "removed"], [(one.table, one.compacted, one.removed) for one in done])


@main.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--hours", default=6, show_default=True, type=click.IntRange(1), help="Hours of events.")
@click.option("--events-per-hour", default=2_000, show_default=True, type=click.IntRange(1), help="Rows in each hour.")
@click.option("--seed", default=1, show_default=True, help="Another seed, another shop; the same seed, the same bytes.")
@click.option(
    "--format",
    "file_format",
    default="parquet",
    show_default=True,
    type=click.Choice(["parquet", "ndjson", "ndjson.gz"]),
)
def sample(out: Path, hours: int, events_per_hour: int, seed: int, file_format: str) -> None:
    """Make the feed of a small shop in the folder OUT.

    With a larger --hours on the same folder the feed goes on; from the fourth hour on one file is re-created. In a
    project of `headrace init`, definitions.example.yml names pages, elements and events of the shop.
    """
    from .sample import write_feed

    made = write_feed(out, hours, events_per_hour, seed, file_format)
    output.print(
        f"{plain(out)}: {made.events:,} rows in {made.files:,} files of {hours} hours; "
        f"{made.distinct:,} events, {made.duplicates:,} duplicates, {made.late:,} late, {made.nulled:,} superseding"
    )


@main.command()
@click.argument("feed")
@on_target
def forget(target: Any, feed: str) -> None:
    """Let status ask no more for FEED, one that has ended or moved; it names those it knows.

    What was loaded stays, and so does the ledger: nothing is loaded twice if the feed comes back.
    """
    from . import sync as run

    run.forget(feed, target)


LINE_SECONDS = 30
"""How often a line says how far it is where there is no terminal, beside one for each stage."""


@dataclass
class _Seen:
    """How far the stage under way is."""

    step: str = "starting"
    done: int | None = None
    total: int | None = None
    rows: int = 0
    began: float = field(default_factory=time.monotonic)
    first: _Seen | None = None
    """The first that was seen of this stage, if this is not the one."""

    @property
    def stage(self) -> str:
        return self.step.partition(" ")[0]

    def words(self) -> str:
        """The step, with rows and rows per second where it has some."""
        words = f"{self.step}, {self.rows:,} rows" if self.rows else self.step
        if self.first and self.rows > self.first.rows:
            rate = (self.rows - self.first.rows) / max(time.monotonic() - self.first.began, 0.001)
            words += f", {rate:,.0f} a second"
        return words

    def line(self) -> str:
        """All of it in one line, with the time of day (UTC)."""
        words = plain(self.words())
        if self.total:
            done = self.done or 0
            words += f", {done:,} of {self.total:,}"
            gone_on = done - (self.first.done or 0) if self.first else 0
            if self.first and gone_on:
                seconds = (time.monotonic() - self.first.began) * (self.total - done) / gone_on
                words += f", {timedelta(seconds=round(seconds))} left"
        return f"{datetime.now(UTC):%H:%M:%S} {words}"


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A bar on a terminal; else a line for each stage, and now and then."""
    seen = _Seen()
    with _bar() if errors.is_terminal else _lines(lambda: seen) as show:

        def tell(step: str, done: int | None = None, total: int | None = None, rows: int = 0) -> None:
            nonlocal seen
            before, seen = seen, _Seen(step, done, total, rows)
            is_new = seen.stage != before.stage
            seen.first = None if is_new else before.first or before
            show(seen, is_new)

        yield tell


@contextmanager
def _bar() -> Iterator[Callable[[_Seen, bool], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def show(seen: _Seen, is_new: bool) -> None:
            if is_new:
                progress.reset(task)
            progress.update(task, description=plain(seen.words()), completed=seen.done or 0, total=seen.total)

        yield show


@contextmanager
def _lines(now: Callable[[], _Seen]) -> Iterator[Callable[[_Seen, bool], None]]:
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(LINE_SECONDS):
            errors.print(now().line())

    threading.Thread(target=repeat, daemon=True).start()
    try:
        yield lambda seen, is_new: errors.print(seen.line()) if is_new else None
    finally:
        ended.set()


def _print_summary(what: str, as_json: bool, run: Callable[[ProgressCallback], Summary | Rebuilt | Applied]) -> None:
    started = time.monotonic()
    with _progress() as tell:
        summary = run(tell)
    seconds = round(time.monotonic() - started, 1)
    deliveries: list[Delivery] = getattr(summary, "deliveries", [])
    if as_json:
        _print_json(summary.counts(), summary.notes(), summary.label, seconds, deliveries)
    else:
        output.print(plain(f"{what} -> {summary.label}"))
        numbers = {name: "-" if count is None else count for name, count in summary.counts().items()}
        _print_table([*numbers, "seconds"], [(*numbers.values(), seconds)])
        for note in summary.notes():
            output.print(plain(note))
    failures = [one.failure for one in deliveries if one.failure]
    for failure in failures:
        errors.print(f"[red]headrace:[/] {plain(failure)}")
    if failures:
        sys.exit(max(failure.exit_status for failure in failures))


def _print_json(
    counts: dict[str, int | None], notes: list[str], label: str, seconds: float, deliveries: Iterable[Delivery] = ()
) -> None:
    shown = {"target": label, "counts": counts, "notes": notes, "seconds": seconds}
    stores = [
        {"store": one.address, "rows": one.rows, "failure": str(one.failure) if one.failure else None}
        for one in deliveries
    ]
    click.echo(json.dumps({**shown, **({"stores": stores} if stores else {})}, indent=2))


def _print_plan(plan: Plan, also: Iterable[Any] = ()) -> None:
    files = [*plan.files, *also]
    for file in files:
        what = "loaded" if file in plan.unchanged else "re-created" if file.path in plan.known else "new"
        output.print(f"{what:<10}  {file.size:>14,}  {plain(file.path)}")
    for file in plan.unread:
        output.print(f"not read    {file.size:>14,}  {plain(file.path)}: {plain(file.problem or 'its content')}")
    output.print(f"{len(files):,} of {plan.listed:,} files would be loaded, {sum(file.size for file in files):,} bytes")


def _print_table(columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> None:
    rows = list(rows)
    table = Table(show_edge=False, pad_edge=False)
    for place, column in enumerate(columns):
        is_number = any(isinstance(row[place], (int, float)) for row in rows)
        table.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(_cell, row))
    output.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else plain(" ".join(str(value).split()))


def _ago(at: datetime | None) -> str:
    if at is None:
        return "never"
    seconds = round((datetime.now(UTC) - at).total_seconds())
    return f"{_cell(at)} UTC, {timedelta(seconds=max(seconds, 0))} ago"


if __name__ == "__main__":
    main()
