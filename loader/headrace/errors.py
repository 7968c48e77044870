"""What can go wrong, by who has to act. Messages say what, where and what to do; they never hold secrets."""


class HeadraceError(Exception):
    """Any failure that headrace foresees; the CLI prints it as one line."""

    exit_status = 1


class UsageError(HeadraceError):
    """The call or the configuration is wrong: running it again without a change is of no use."""

    exit_status = 2


class LoadError(HeadraceError):
    """The load failed and committed nothing of the package under way; running it again is safe."""


class BuildError(HeadraceError):
    """The dbt build failed; the queue is as it was, and the next green build merges it."""


def gone(path: str) -> LoadError:
    """That a file was listed, and is there no more."""
    return LoadError(f"{path}: the file has gone since it was listed; run it again")
