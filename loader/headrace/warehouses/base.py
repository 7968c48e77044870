"""What the loader asks of a warehouse, with the answers that most of them give."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import dlt
from dbt.adapters.factory import load_plugin
from dbt_common.dataclass_schema import ValidationError
from dbt_common.exceptions import DbtBaseException
from dlt.common.destination import AnyDestination
from dlt.common.destination.exceptions import DestinationUndefinedEntity

from ..errors import HeadraceError, LoadError, UsageError
from ..failures import lasts, words
from ..target import Target
from . import not_installed

CONNECT_SECONDS = 10
"""How long to try to connect, unless the profile's connect_timeout says it."""


class Warehouse(ABC):
    """The warehouse of a target. A kind of its own must have `connect`; it overrides what the default does not suit.

    The defaults are those of an SQL warehouse on a server that reads Parquet files.
    """

    text_type: ClassVar[str] = "varchar(4000)"
    """The type of a text in the tables that the loader makes by statements of its own, such as that of the lease."""

    time_type: ClassVar[str] = "timestamptz"
    """Likewise, of a point in time."""

    json_text: ClassVar[str] = "cast({} as varchar)"
    """The text of a column of JSON."""

    has_arrow: ClassVar[bool] = False
    """Whether its client has the rows as Arrow, exactly and some at a time."""

    statement_rows: ClassVar[int] = 500
    """How many rows an INSERT of the loader's own has: BigQuery takes 10,000 parameters."""

    max_text_bytes: ClassVar[int | None] = None
    """The longest text that it holds, where it is less than a line of a feed may have. Rows with more are rejected."""

    dlt_settings: ClassVar[Mapping[str, Any]] = {}
    """What dlt has to do otherwise for it."""

    principal: ClassVar[re.Pattern[str]] = re.compile(r"[A-Za-z_][\w$]*")
    """What the name of a user or a role may be in the grants, where it stands as it is."""

    principal_words: ClassVar[str] = "a plain name"
    """The same in words."""

    def __init__(self, target: Target) -> None:
        """The warehouse of a target; nothing is opened."""
        self.target = target

    @property
    def file(self) -> Path | None:
        """The file of this machine that holds all of it, and lets in one process that writes; None for a server.

        With a server, a lease keeps other machines away, and connections need not last.
        """
        return None

    @abstractmethod
    def connect(self) -> Any:
        """The destination for dlt, with the login of the profile (see `login`)."""

    def destination(self) -> AnyDestination:
        """Where dlt loads to.

        Raises:
            UsageError: its package is missing, or dlt can't log in the way that the profile says.
            LoadError: who was asked for the keys or tokens of a login could not answer.
        """
        label = self.target.label
        try:
            made: AnyDestination = self.connect()
            return made
        except HeadraceError:
            raise
        except ImportError as error:
            raise not_installed(self.target, error) from None
        except Exception as error:  # what reads the keys and tokens of a login has no exception in common
            said = f"{label}: the login in the profile can't be used: {words(self.target, error)}"
            raise (LoadError if self.lasts(error) is False else UsageError)(said) from error

    @contextmanager
    def reading(self, folder: Path) -> Iterator[AnyDestination]:
        """Where dlt reads from, for who only reads; the folder is for files of this reader.

        Raises:
            HeadraceError: as destination.
        """
        yield self.destination()

    @property
    def staging(self) -> str | None:
        """By way of which dlt destination files go, such as `filesystem` for a bucket; None when they go directly."""
        return None

    @property
    def by_insert(self) -> bool:
        """Whether it takes no Parquet files, so that rows go by INSERT."""
        return False

    def values(self, rows: Sequence[tuple[Any, ...]], types: Sequence[str]) -> tuple[str, list[Any]]:
        """What follows the columns in an INSERT of rows, and its parameters. BigQuery takes no null as one."""
        marks = ("(" + ", ".join("null" if part is None else "%s" for part in row) + ")" for row in rows)
        return "values " + ", ".join(marks), [part for row in rows for part in row if part is not None]

    def advice(self, inserted: int) -> list[str]:
        """What to tell the user after a load that brought so many rows by INSERT."""
        return []

    def before_retry(self, pipeline: dlt.Pipeline) -> None:  # noqa: B027 (most have nothing to do)
        """Do what may help a load that failed in passing, before it is tried again."""

    def after_build(self) -> None:  # noqa: B027
        """Let go of what dbt keeps open in this process, for the loader to go on."""

    @classmethod
    def is_missing(cls, error: BaseException) -> bool:
        """Whether a statement failed as a table or a schema is not there."""
        return isinstance(error, DestinationUndefinedEntity)

    @staticmethod
    def verdict(error: BaseException) -> bool | None:
        """Whether a failure lasts, by codes that this warehouse's clients alone have; None when they say nothing.

        SQLSTATE, HTTP statuses and errno are known already (see failures.py).
        """
        return None

    def refusals(self) -> Iterable[BaseException]:
        """Why there is no connection, from who carries a code where the client that was used has words alone."""
        return ()

    def lasts(self, error: BaseException) -> bool | None:
        """Whether a failure stays until somebody changes something (see failures.lasts)."""
        return lasts(error, self.verdict)

    def failure(self, error: BaseException, connecting: bool = False) -> HeadraceError:
        """What a destination raised, as an error of ours that says whether running it again may help."""
        answers = chain([error], self.refusals() if connecting else ())
        is_lasting = next((verdict for one in answers if (verdict := self.lasts(one)) is not None), False)
        said = words(self.target, error)
        what = f"can't connect: {said}" if connecting else said
        return (UsageError if is_lasting else LoadError)(f"{self.target.label}: {what}")

    def login(self) -> Any:
        """The output of the profile as the dbt adapter understands it: what dbt can use the loader can use."""
        target = self.target
        try:
            adapter = load_plugin(target.type)
        except (DbtBaseException, ImportError):
            raise not_installed(target, "the packages for it are not installed") from None
        settings = {name: value for name, value in target.settings.items() if name not in ("type", "threads")}
        try:
            known = adapter.translate_aliases(settings)
            adapter.validate(known)
            return adapter.from_dict(known)
        except ValidationError as error:
            # Its own words hold the value where that is of a wrong type.
            what = error.message if error.validator in ("required", "additionalProperties") else "is of a wrong type"
            where = "".join(f"{name} " for name in error.path)
            raise UsageError(f"{target.label}: the profile can't be used: {where}{what}") from None

    def unmapped(self, what: str, instead: str) -> UsageError:
        """That dlt can't log in in one of the ways that dbt can."""
        return UsageError(f"{self.target.label}: the loader can't log in with {what!r} as dbt does; {instead}")
