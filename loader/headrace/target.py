"""Where to load: the target that the dbt profile names, found and rendered as dbt does it."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UsageError

# dbt is imported where a profile is rendered: a sync that has nothing to do needs none of it.

PROFILE = "headrace"
CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = Path(__file__).resolve().parent / "project"

SECRET = re.compile(r"password|pass|secret|token|private_key|passphrase|keyfile_json|access_key")
"""What the settings of an output that hold a secret have in their names."""

UNQUOTABLE = re.compile(r"['*?\[\]]")
"""dlt hands paths to DuckDB's read_parquet unquoted, where these have a meaning."""


@dataclass(frozen=True)
class Target:
    """One output of the dbt profile, and the project that is built there."""

    name: str
    type: str
    schema: str
    """Schema (dataset) of staging and of the contract tables; the published ones are named after it."""
    settings: dict[str, Any]
    """The output as rendered. It holds secrets: never print it."""
    project_dir: Path
    profiles_dir: Path
    home: Path
    """Where this target's files may be written: the project's folder, or here when the project is the package's."""

    @property
    def label(self) -> str:
        """The target in words that may be printed."""
        names = ("path", "account", "host", "project", "database", "dbname")
        place = "/".join(str(self.settings[name]) for name in names if self.settings.get(name))
        return f"{self.name} ({self.type}: {place})"

    @property
    def work_dir(self) -> Path:
        """A folder for this target's files under way. Losing it loses nothing."""
        folder = self.home / ".headrace"
        if UNQUOTABLE.search(str(folder)):
            digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
            folder = Path(tempfile.gettempdir()) / f"headrace-{digest}"
        return folder / self.name

    def hidden(self, said: str) -> str:
        """Words in one line, without the secrets of the profile."""
        said = " ".join(said.split())
        for secret in sorted(_secrets(self.settings), key=len, reverse=True):
            said = said.replace(" ".join(secret.split()), "***")
        return said


def _secrets(settings: Any, is_secret: bool = False) -> Iterator[str]:
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from _secrets(value, is_secret or bool(SECRET.search(str(name))))
    elif is_secret and settings and len(str(settings)) > 3:
        yield str(settings)


def find_project(project_dir: Path | None) -> Path:
    """The dbt project: as told, else the working directory's, else the one that came with this package."""
    candidates = [project_dir] if project_dir else [Path.cwd(), CHECKOUT, SHIPPED]
    for candidate in candidates:
        found = candidate / "dbt_project.yml"
        if found.exists() and (project_dir or f"name: {PROFILE}" in found.read_text()):
            return candidate.resolve()
    raise UsageError(f"no dbt_project.yml in {', '.join(map(str, candidates))}; name its folder with --project-dir")


def home_of(project: Path) -> Path:
    """Where the files of a project's targets may be written: its folder, or here when the project is the package's."""
    return Path.cwd() if project == SHIPPED else project


def profile_folders(project: Path, profiles_dir: Path | None) -> list[Path]:
    """Where profiles.yml is looked for, in this order: the one folder that was named, or three."""
    told = profiles_dir or os.environ.get("DBT_PROFILES_DIR")
    return [Path(told)] if told else [Path.cwd(), project, Path.home() / ".dbt"]


def write_at_once(path: Path, text: str) -> None:
    """Write a file so that whoever reads it meanwhile has the old text or the new one."""
    half = path.with_suffix(f".{os.getpid()}.half")
    half.write_text(text)
    half.replace(path)


def read_target(target: str | None, project_dir: Path | None = None, profiles_dir: Path | None = None) -> Target:
    """Read the dbt profile `headrace` from where dbt looks for it, else from the project's profiles.example.yml.

    Args:
        target: name of the output; None takes the profile's default.
        project_dir: the dbt project; None finds it (see find_project).
        profiles_dir: folder of profiles.yml; None looks at DBT_PROFILES_DIR, the working directory, the project and
            ~/.dbt, in this order.

    Raises:
        UsageError: there is no such profile or target, or it can't be rendered.
    """
    from dbt_common.context import set_invocation_context

    project = find_project(project_dir)
    home = home_of(project)
    os.environ.setdefault("HEADRACE_DUCKDB", str(home / "headrace.duckdb"))
    set_invocation_context(os.environ)
    folders = profile_folders(project, profiles_dir)
    for folder in folders:
        if (folder / "profiles.yml").exists() and PROFILE in (profiles := _profiles(folder)):
            return _target(profiles, target, project, folder.resolve(), home)
    if len(folders) == 1:
        raise UsageError(f"no profile {PROFILE!r} in {folders[0] / 'profiles.yml'}; profiles.example.yml shows one")
    folder = home / ".headrace"
    folder.mkdir(exist_ok=True)
    shipped, copy = (project / "profiles.example.yml").read_text(), folder / "profiles.yml"
    if not (copy.exists() and copy.read_text() == shipped):
        write_at_once(copy, shipped)
    return _target(_profiles(folder), target, project, folder, home)


def _profiles(folder: Path) -> dict[str, Any]:
    from dbt.config.profile import read_profile
    from dbt.exceptions import DbtProfileError, DbtProjectError
    from dbt_common.exceptions import DbtBaseException

    try:
        return read_profile(str(folder)) or {}
    except (DbtProfileError, DbtProjectError, DbtBaseException) as error:
        raise UsageError(f"{folder / 'profiles.yml'} can't be read: {_line(error)}") from None


def _target(profiles: dict[str, Any], target: str | None, project: Path, folder: Path, home: Path) -> Target:
    from dbt.config.profile import Profile
    from dbt.config.renderer import ProfileRenderer
    from dbt_common.exceptions import DbtBaseException

    outputs = profiles[PROFILE].get("outputs") or {}
    if target and target not in outputs:
        raise UsageError(f"no target {target!r} in {folder / 'profiles.yml'}; it has: {', '.join(outputs) or 'none'}")
    try:
        name, settings = Profile.render_profile(profiles[PROFILE], PROFILE, target, ProfileRenderer({}))
    except DbtBaseException as error:
        raise UsageError(f"the profile in {folder / 'profiles.yml'} can't be used: {_line(error)}") from None
    schema = settings.get("schema") or settings.get("dataset")
    if not schema:
        raise UsageError(f"target {name!r} in {folder / 'profiles.yml'} names no schema")
    return Target(name, str(settings.get("type")), str(schema), settings, project, folder, home)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
