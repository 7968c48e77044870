"""Where to load: the project, and the target that its dbt profile names, found and rendered as dbt does it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from . import __version__
from .errors import UsageError

# dbt is imported where a profile is rendered: a sync that has nothing to do needs none of it.

PACKAGE = "headrace"
"""The dbt project of the models, by its name: a package of a project of the user's own, or the project itself."""

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = Path(__file__).resolve().parent / "project"

PLACE = ("path", "account", "host", "port", "project", "database", "dbname")
"""The settings of an output that say which database it is."""

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
    """The folder of state (see home_of)."""
    profile: str = PACKAGE
    vars: Mapping[str, Any] = field(default_factory=dict)
    """For dbt, beside those of the project."""

    @property
    def label(self) -> str:
        """The target in words that may be printed."""
        place = "/".join(str(self.settings[name]) for name in PLACE if name != "port" and self.settings.get(name))
        return f"{self.name} ({self.type}: {place})"

    @property
    def work_dir(self) -> Path:
        """The folder of this database and schema, whatever the target's name. Losing it loses nothing."""
        place = {name: str(self.settings[name]).lower() for name in PLACE if self.settings.get(name)}
        if self.type == "duckdb":
            place = {"path": str(Path(self.settings["path"]).resolve())}
        digest = hashlib.sha256(repr((place, self.schema.lower())).encode()).hexdigest()[:12]
        return self.home / f"{self.type}-{digest}"

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
    """The dbt project: as told, else the working directory's if it is of headrace, else the one that came along."""
    if project_dir and not (project_dir / "dbt_project.yml").exists():
        raise UsageError(f"no dbt_project.yml in {project_dir}; `headrace init {project_dir}` makes a project there")
    return (project_dir or (Path.cwd() if names_headrace(Path.cwd()) else models())).resolve()


def models() -> Path:
    """The dbt project that came along: the checkout's, or the wheel's."""
    return CHECKOUT if (CHECKOUT / "dbt_project.yml").exists() else SHIPPED


def names_headrace(project: Path) -> bool:
    """Whether a folder holds the dbt project itself, or one that has it as a package."""
    files = [project / name for name in ("dbt_project.yml", "packages.yml", "dependencies.yml")]
    return files[0].exists() and any(PACKAGE in file.read_text(encoding="utf-8") for file in files if file.exists())


def settings_of(project: Path) -> dict[str, Any]:
    """What dbt_project.yml says; nothing where dbt has to say what is wrong with it."""
    try:
        found = yaml.safe_load((project / "dbt_project.yml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def installed(project: Path, settings: Mapping[str, Any]) -> Path:
    """Where a project of the user's own, with these settings, has the models: as dbt installs a package."""
    return project / str(settings.get("packages-install-path", "dbt_packages")) / PACKAGE


def var_of(target: Target, name: str) -> Any:
    """What a var of the models is, as dbt finds it: of the call, of the project for the package, of the project."""
    told = settings_of(target.project_dir).get("vars") or {}
    own = told.get(PACKAGE)
    for found in (target.vars, own if isinstance(own, dict) else {}, told):
        if name in found:
            return found[name]
    return (settings_of(models()).get("vars") or {}).get(name)


def home_of(project: Path) -> Path:
    """The folder of state: HEADRACE_HOME, else `.headrace` in the project, else a folder of the user's.

    The project that the wheel brought is for all who use it, and a project may be read-only.
    """
    if told := os.environ.get("HEADRACE_HOME"):
        home = Path(told).absolute()
        if UNQUOTABLE.search(str(home)):
            raise UsageError(f"HEADRACE_HOME: {home} has one of ' * ? [ ] in it, which DuckDB does not take as it is")
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home
    for home in [*([] if project == SHIPPED else [project / ".headrace"]), *_homes_of_user()]:
        with suppress(OSError):
            if may_be_written(home) and not UNQUOTABLE.search(str(home)):
                home.mkdir(mode=0o700, parents=True, exist_ok=True)
                return home
    return _home_of_nobody()


def may_be_written(folder: Path) -> bool:
    """Whether a folder can be written, or made in one that is not the root of all."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return there != Path(there.anchor) and os.access(there, os.W_OK | os.X_OK)


def _homes_of_user() -> list[Path]:
    told = Path(os.environ.get("XDG_STATE_HOME", ""))
    states = [told] if told.is_absolute() else [home / ".local" / "state" for home in _home()]
    return [state / PACKAGE for state in states]


def _home() -> list[Path]:
    """The user's home; none for a user whom the system doesn't know."""
    try:
        return [Path.home()]
    except RuntimeError:
        return []


def _home_of_nobody() -> Path:
    """A folder for a user without one. Its name can be guessed, so whose it is and who may enter it is looked at."""
    if not hasattr(os, "getuid"):  # Windows, where this folder is the user's own
        home = Path(tempfile.gettempdir()) / PACKAGE
        home.mkdir(exist_ok=True)
        return home
    home = Path(tempfile.gettempdir()) / f"{PACKAGE}-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UsageError(f"{home} is not of this user alone, as state must be; name another folder with HEADRACE_HOME")
    return home


def _default_database(project: Path, home: Path) -> Path:
    """The DuckDB file of the example profile: in the project, here where that is the wheel's, else with the state."""
    folder = Path.cwd() if project == SHIPPED else project
    file = folder / "headrace.duckdb"
    return file if file.exists() or may_be_written(folder) else home / file.name


def profile_folders(project: Path, profiles_dir: Path | None) -> list[Path]:
    """Where profiles.yml is looked for, in this order: the one folder that was named, or three."""
    told = profiles_dir or os.environ.get("DBT_PROFILES_DIR")
    return [Path(told)] if told else [Path.cwd(), project, *(home / ".dbt" for home in _home())]


def write_at_once(path: Path, text: str) -> None:
    """Write a file so that whoever reads it meanwhile has the old text or the new one."""
    half = path.with_suffix(f".{os.getpid()}.half")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def read_target(
    target: str | None,
    project_dir: Path | None = None,
    profiles_dir: Path | None = None,
    vars: Mapping[str, Any] | None = None,
) -> Target:
    """Read the profile that dbt_project.yml names from where dbt looks for it, else from profiles.example.yml.

    Args:
        target: name of the output; None takes the profile's default.
        project_dir: the dbt project; None finds it (see find_project).
        profiles_dir: folder of profiles.yml; None looks at DBT_PROFILES_DIR, the working directory, the project and
            ~/.dbt, in this order.
        vars: those of the call.

    Raises:
        UsageError: there is no such profile or target, it can't be rendered, or the project lacks the models of this
            version.
    """
    from dbt_common.context import set_invocation_context

    project = find_project(project_dir)
    _check_models(project)
    home = home_of(project)
    os.environ.setdefault("HEADRACE_DUCKDB", str(_default_database(project, home)))
    set_invocation_context(os.environ)
    name = _profile_name(project, vars or {})
    folders = profile_folders(project, profiles_dir)
    for folder in folders:
        if (folder / "profiles.yml").exists() and name in (profiles := _profiles(folder)):
            return _target(profiles, name, target, project, folder.resolve(), home, vars or {})
    example = project / "profiles.example.yml"
    if len(folders) == 1 or name != PACKAGE or not example.exists():
        places = " or ".join(dict.fromkeys(str(folder / "profiles.yml") for folder in folders))
        raise UsageError(f"no profile {name!r} in {places}; {models() / 'profiles.example.yml'} shows one")
    shipped, copy = example.read_text(encoding="utf-8"), home / "profiles.yml"
    if not (copy.exists() and copy.read_text(encoding="utf-8") == shipped):
        write_at_once(copy, shipped)
    return _target(_profiles(home), name, target, project, home, home, vars or {})


def _check_models(project: Path) -> None:
    """Hold the models that a project of the user's own has installed against this version."""
    settings = settings_of(project)
    if settings.get("name") == PACKAGE:
        return
    if (settings.get("vars") or {}).get(PACKAGE, {}) is None:
        raise UsageError(f"{project / 'dbt_project.yml'}: `vars: {PACKAGE}:` is empty, which dbt can't read: remove it")
    package = installed(project, settings)
    mend = f"`headrace init {project}` links it to those that came along"
    if not (package / "dbt_project.yml").exists():
        raise UsageError(f"{package}, the folder of the models, is missing or leads nowhere: {mend}")
    if (found := str(settings_of(package).get("version"))) != __version__:
        raise UsageError(f"{package} has the models of headrace {found}, and this is {__version__}: {mend}")


def _profile_name(project: Path, vars: Mapping[str, Any]) -> str:
    from dbt.config.project import load_raw_project
    from dbt.config.renderer import ProfileRenderer
    from dbt.exceptions import DbtProjectError
    from dbt_common.exceptions import DbtBaseException

    try:
        name = ProfileRenderer(dict(vars)).render_value(load_raw_project(str(project)).get("profile"))
    except (DbtProjectError, DbtBaseException) as error:
        raise UsageError(f"{project / 'dbt_project.yml'} can't be read: {_line(error)}") from None
    if not name:
        raise UsageError(f"{project / 'dbt_project.yml'} names no profile: add `profile: {PACKAGE}`")
    return str(name)


def _profiles(folder: Path) -> dict[str, Any]:
    from dbt.config.profile import read_profile
    from dbt.exceptions import DbtProfileError, DbtProjectError
    from dbt_common.exceptions import DbtBaseException

    try:
        return read_profile(str(folder)) or {}
    except (DbtProfileError, DbtProjectError, DbtBaseException) as error:
        raise UsageError(f"{folder / 'profiles.yml'} can't be read: {_line(error)}") from None


def _target(
    profiles: dict[str, Any],
    profile: str,
    target: str | None,
    project: Path,
    folder: Path,
    home: Path,
    vars: Mapping[str, Any],
) -> Target:
    from dbt.config.profile import Profile
    from dbt.config.renderer import ProfileRenderer
    from dbt_common.exceptions import DbtBaseException

    outputs = profiles[profile].get("outputs") or {}
    if target and target not in outputs:
        raise UsageError(f"no target {target!r} in {folder / 'profiles.yml'}; it has: {', '.join(outputs) or 'none'}")
    try:
        name, settings = Profile.render_profile(profiles[profile], profile, target, ProfileRenderer(dict(vars)))
    except DbtBaseException as error:
        raise UsageError(f"the profile in {folder / 'profiles.yml'} can't be used: {_line(error)}") from None
    schema = settings.get("schema") or settings.get("dataset")
    if not schema:
        raise UsageError(f"target {name!r} in {folder / 'profiles.yml'} names no schema")
    return Target(name, str(settings.get("type")), str(schema), settings, project, folder, home, profile, vars)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
