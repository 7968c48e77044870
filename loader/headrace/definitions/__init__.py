"""Definitions as code: named pages, elements and events, read from YAML and matched over distinct values."""

from __future__ import annotations

from pathlib import Path

from .model import Definitions

FILE_NAME = "definitions.yml"
FOLDER_NAME = "definitions"
SUFFIXES = (".yml", ".yaml")


def files_of(project: Path) -> list[Path]:
    """The files of a project's definitions, in the order in which they are read."""
    folder = project / FOLDER_NAME
    found = [project / FILE_NAME, *(folder.iterdir() if folder.is_dir() else ())]
    return sorted(file for file in found if file.suffix in SUFFIXES and file.is_file())


def definitions_of(project: Path) -> Definitions | None:
    """What a dbt project defines in its definitions.yml, or its folder of definitions; None where it has none.

    Raises:
        UsageError: they can't be used.
    """
    if not any((project / name).exists() for name in (FILE_NAME, FOLDER_NAME)):
        return None
    from . import read  # what it needs is imported where there are definitions

    path = read.find(project)
    return read.read(path) if path else None
