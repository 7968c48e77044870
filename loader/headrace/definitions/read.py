"""definitions.yml, or a folder of such files, read and checked: all that is wrong is told at once, with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import SUFFIXES, document
from .model import Definition, Definitions, Page, Place
from .pages import overlaps
from .shape import (
    FILE,
    MAX_DEFINITIONS,
    MAX_PROBLEMS,
    MISSING,
    Many,
    Problem,
    Reading,
    TooManyError,
    shortened,
    unknown,
)

MAX_FILES = 1_000


class DefinitionsError(UsageError):
    """Definitions that can't be used: each problem with its file, its line and what to do."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        more = len(self.problems) - 1
        others = f"; {more} more: `headrace definitions check` lists them" if more else ""
        super().__init__(f"{self.problems[0]}{others}")


def read(path: Path) -> Definitions:
    """What a file, or the .yml files of a folder, define.

    Raises:
        DefinitionsError: all that is wrong with them.
        UsageError: there is no such file or folder.
    """
    problems: list[Problem] = []
    parts: list[dict[str, Any]] = []
    try:
        for file in _files(path):
            parts.append(_read_file(file, Reading(_shown(file, path), problems)))
    except TooManyError:
        raise DefinitionsError(problems) from None
    found = Definitions(**{kind: tuple(one for part in parts for one in part.get(kind, ())) for kind in FILE.keys})
    named = {kind: [one for part in parts for one in part.get(f"{kind} ids", ())] for kind in FILE.keys}
    ids = {kind: {name for name, _ in named[kind]} for kind in named}
    problems += islice(chain(_repeated(named), _problems(found, ids)), MAX_PROBLEMS)
    problems += list(_overlaps(found.pages))
    if problems:
        raise DefinitionsError(problems)
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise UsageError(f"no definitions at {path}: there is no such file or folder")
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise UsageError(f"{path} has no .yml file with definitions")
    if len(files) > MAX_FILES:
        raise UsageError(f"{path} has {len(files):,} files, and may have {MAX_FILES:,}")
    return files


def _shown(file: Path, path: Path) -> str:
    """A file as problems name it: from the project on."""
    return file.name if file == path else f"{path.name}/{file.name}"


def _read_file(file: Path, reading: Reading) -> dict[str, Any]:
    """What one file defines, by kind; what is wrong is left out of it."""
    try:
        with file.open("rb") as opened:
            root = document.parse(opened.read(document.MAX_BYTES + 1))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from None
    except document.NotYAMLError as fault:
        reading.tell(fault.line, str(fault))
        return {}
    if root is None:
        reading.tell(1, f"the file is empty: write definitions under {', '.join(FILE.keys)}, or remove it")
        return {}
    if not isinstance(root, document.Mapping):
        reading.tell(root.line, f"the file must have keys: {', '.join(FILE.keys)}")
        return {}
    found: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for key, node in root.pairs:
        if key.text in seen:
            reading.tell(key.line, f"{key.text} stands here again, after line {seen[key.text]}: put both under one")
        elif key.text not in FILE.keys:
            reading.tell(key.line, f"the file: {unknown(key.text, FILE.keys)}")
        else:
            seen[key.text] = key.line
            found[key.text] = _entries(key.text, node, reading)
            found[f"{key.text} ids"] = [(name, reading.place(line)) for name, line in _ids(node)]
    return found


def _entries(key: str, node: document.Node, reading: Reading) -> list[Any]:
    """The entries of a list that nothing is wrong with."""
    kind = FILE.keys[key].kind
    assert isinstance(kind, Many)  # noqa: S101
    if not isinstance(node, document.List) or not 0 < len(node.items) <= kind.most:
        kind.read(node, key, reading)  # tells what is wrong
        return []
    values = (kind.kind.read(item, str(kind.entry), reading) for item in node.items)
    return [value for value in values if value is not MISSING]


def _ids(node: document.Node) -> Iterator[tuple[str, int]]:
    """The ids of a list and their lines, of faulty entries too: a reference to those is not what is wrong."""
    for item in node.items if isinstance(node, document.List) else ():
        for key, inner in item.pairs if isinstance(item, document.Mapping) else ():
            if key.text == "id" and isinstance(inner, document.Scalar):
                yield inner.text, inner.line
                break


def _repeated(named: dict[str, list[tuple[str, Place]]]) -> Iterator[Problem]:
    """Ids that stand twice."""
    for kind, ids in named.items():
        word, first = kind[:-1].replace("_", " "), dict[str, Place]()
        for name, place in ids:
            if (there := first.setdefault(name, place)) is not place:
                yield Problem(
                    *_at(place),
                    f"{word} {shortened(name)}: this id stands at {there} already: give one another",
                )
        if len(ids) > MAX_DEFINITIONS:
            yield Problem(*_at(ids[-1][1]), f"there are {len(ids):,} {kind}, and may be {MAX_DEFINITIONS:,}")


def _at(place: Place) -> tuple[str, int]:
    return place.file, place.line


def _problems(found: Definitions, ids: dict[str, set[str]]) -> Iterator[Problem]:
    """What is wrong between definitions."""
    for element in found.elements:
        yield from _missing(element, "element", "page", (element.page,) if element.page else (), ids["pages"])
    for event in found.events:
        yield from _missing(event, "event", "page", event.pages, ids["pages"])
        yield from _missing(event, "event", "element", event.elements, ids["elements"])
    rules: dict[tuple[Any, ...], str] = {}
    for rule in found.page_rules:
        for path in rule.paths or (None,):
            if (there := rules.setdefault((rule.url, path), str(rule.place))) != str(rule.place):
                what = f"page rule for {shortened(rule.url)}"
                yield Problem(*_at(rule.place), f"{what}: the rule at {there} is for the same: keep one")


def _problem(one: Definition, message: str) -> Problem:
    return Problem(*_at(one.place), message)


def _missing(one: Definition, word: str, kind: str, wanted: Iterable[str], known: set[str]) -> Iterator[Problem]:
    from difflib import get_close_matches

    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, 1)
            end = f"; did you mean {shortened(near[0])}?" if near else f": define it under {kind}s"
            yield _problem(one, f"{word} {shortened(one.id)}: there is no {kind} {shortened(name)}{end}")


def _overlaps(pages: Sequence[Page]) -> Iterator[Problem]:
    for overlap in overlaps(pages):
        first, second = overlap.first, overlap.second
        yield _problem(
            second,
            f"page {shortened(second.id)}: {overlap.example} is this page and page {shortened(first.id)} "
            f"({first.place}), too: give one of them a higher priority, or make its pattern narrower",
        )


def warnings(found: Definitions) -> list[Problem]:
    """What the author should know, although it can be used."""
    told: list[Problem] = []
    pages = {page.id: page for page in found.pages}
    elements = {element.id: element for element in found.elements}
    for element in (one for one in found.elements if one.is_active):
        if element.texts:
            told.append(_problem(element, f"element {shortened(element.id)}: text that is masked never matches a text"))
        if element.page and not pages[element.page].is_active:
            told.append(_problem(element, f"element {shortened(element.id)}: its page is archived: it matches nothing"))
    for event in (one for one in found.events if one.is_active):
        if any(condition.property in ("target.text", "source_properties.title") for condition in event.where):
            told.append(_problem(event, f"event {shortened(event.id)}: text that is masked never matches a text"))
        for kind, wanted, known in (("pages", event.pages, pages), ("elements", event.elements, elements)):
            if wanted and not any(known[name].is_active for name in wanted):
                told.append(
                    _problem(event, f"event {shortened(event.id)}: its {kind} are archived: it matches nothing")
                )
    return sorted(told)
