"""The command `headrace`: signals are handled before the imports that take time."""

from __future__ import annotations

from collections.abc import Sequence

from . import stop


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, with the arguments of the process unless others are given."""
    stop.listen()
    from .cli import main as run

    with stop.comes_first():
        run(arguments)


if __name__ == "__main__":
    main()
