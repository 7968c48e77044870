"""A dbt project of the user's own around the models that came along: a place for vars, models and overrides."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from .errors import UsageError
from .target import PACKAGE, installed, models, names_headrace, settings_of

STARTER = Path(__file__).resolve().parent / "starter"

LINK = Path(".headrace") / "project"
"""To the models that came along. packages.yml names it, so that this file is the same on all machines."""


def init(folder: Path) -> list[str]:
    """Make the project where there is none, and the link to the models where it is missing or leads elsewhere.

    Nothing is downloaded: what dbt finds in its folder of packages it needs not install.

    Returns:
        What was done, in a line each.

    Raises:
        UsageError: there is another dbt project, which first has to name this one as a package.
    """
    folder = folder.absolute()
    done = []
    if settings_of(folder).get("name") == PACKAGE:
        raise UsageError(f"{folder} is headrace's own project, which needs no other one")
    if not (folder / "dbt_project.yml").exists():
        done += [f"written  {path}" for path in _write(folder)]
    elif not names_headrace(folder):
        raise UsageError(
            f"{folder} has another dbt project: name headrace in its packages.yml (`- local: {LINK.as_posix()}`) and "
            f"in a `dispatch:` of its dbt_project.yml, as {STARTER / 'dbt_project.yml'} does, and call this again"
        )
    package = installed(folder, settings_of(folder))
    for at, to in ((folder / LINK, models()), (package, Path(os.path.relpath(folder / LINK, package.parent)))):
        if _link(at, to):
            done.append(f"linked   {at.relative_to(folder)} -> {to}")
    return done


def _write(folder: Path) -> list[str]:
    """Write the files that are missing, dbt_project.yml last: it says that the project is there."""
    shipped = {"profiles.yml": "profiles.example.yml", "selectors.yml": "selectors.yml"}
    files = {name: (models() / source).read_text(encoding="utf-8") for name, source in shipped.items()}
    for name in ("packages.yml", "README.md", "gitignore", "definitions.example.yml", "dbt_project.yml"):
        files[name.replace("git", ".git")] = (STARTER / name).read_text(encoding="utf-8")
    (folder / "models").mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in files.items():
        with suppress(FileExistsError), (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
            written.append(name)
    return written


def _link(at: Path, to: Path) -> bool:
    """Have a path lead to a folder; False where it does already."""
    if at.is_symlink() and at.readlink() == to:
        return False
    at.parent.mkdir(parents=True, exist_ok=True)
    if at.is_symlink():
        at.unlink()
    elif at.exists():  # a copy, which dbt and the next lines make where a system has no links
        shutil.rmtree(at)
    try:
        at.symlink_to(to, target_is_directory=True)
    except OSError:
        shutil.copytree(at.parent / to, at)
    return True
