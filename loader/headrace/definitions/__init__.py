"""Definitions as code: named pages, elements and events, read from YAML and matched over distinct values."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UsageError
from .model import Definitions

FILE_NAME = "definitions.yml"
FOLDER_NAME = "definitions"
SUFFIXES = (".yml", ".yaml")


def files_of(project: Path) -> list[Path]:
    """The files of a project's definitions, in the order in which they are read."""
    folder = project / FOLDER_NAME
    found = [project / FILE_NAME, *(folder.iterdir() if folder.is_dir() else ())]
    return sorted(file for file in found if file.suffix in SUFFIXES and file.is_file())


def find(project: Path) -> Path | None:
    """Where a project has its definitions: definitions.yml, or a folder `definitions`; None where it has none.

    Raises:
        UsageError: it has both.
    """
    # A link to nowhere is a mistake: what is not there at all would archive all that was defined.
    there = [path for path in (project / FILE_NAME, project / FOLDER_NAME) if os.path.lexists(path)]
    if len(there) > 1:
        raise UsageError(f"{project} has {FILE_NAME} and a folder {FOLDER_NAME}: move the file into the folder")
    return there[0] if there else None


def definitions_of(project: Path) -> Definitions | None:
    """What a dbt project defines in its definitions.yml, or its folder of definitions; None where it has none.

    Raises:
        UsageError: they can't be used.
    """
    path = find(project)
    if path is None:
        return None
    from .read import read  # what it needs is imported where there are definitions

    return read(path)
