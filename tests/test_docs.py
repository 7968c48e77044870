"""What docs say in the words of other files: docs/vars.md, which this file writes when it is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "vars.md"
HEAD = """# Vars
How Headrace is set, as any dbt project: under `vars: headrace:` in the `dbt_project.yml` of a project of your own
(`headrace init`), or for one call by `--vars`, to `headrace` and to `dbt` alike. What wants a rebuild is made anew for the
days since DAY by `headrace rebuild --since DAY`, and for all days by `dbt build --full-refresh`; the next build shows the
rest. One more is told with each call alone: `--vars '{grants: {select: [reporter]}}'`, who may read what is published.

| var | default | meaning | a change |
|---|---|---|---|
"""


def test_the_page_on_vars_has_each_var_of_the_project_and_no_other() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "`python tests/test_docs.py` writes it"
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(settings())


def test_no_page_links_to_what_is_not_there() -> None:
    pages = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    assert len(links) > 20
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def settings() -> dict[str, Any]:
    """The vars of dbt_project.yml with their defaults."""
    return yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]


def page() -> str:
    """The page: of each var the comment above it, in which a sentence on a change comes last."""
    rows = []
    comment: list[str] = []
    _, _, text = (PROJECT / "dbt_project.yml").read_text(encoding="utf-8").partition("\nvars:\n")
    for line in text.splitlines():
        if line.startswith("  # "):
            comment.append(line[4:])
        elif found := re.match(r"  (\w+):", line):
            meaning, _, change = " ".join(comment).partition(" A change ")
            shown = (
                found[1],
                default(settings()[found[1]]),
                meaning,
                change.rstrip(".") or "holds from the next build on",
            )
            rows.append("| `{}` | {} | {} | {} |\n".format(*(re.sub(r"[<|>]", r"\\\g<0>", cell) for cell in shown)))
        elif not line:
            comment = []
    return HEAD + "".join(rows)


def default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "see `dbt_project.yml`"
    if isinstance(value, list):
        return f"`{value[0]}`, `{value[1]}` and {len(value) - 2} more"
    return "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
