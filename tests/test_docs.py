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
(`headrace init`), or for one call by `--vars`, to `headrace` and to `dbt` alike. Where a change wants a rebuild,
`headrace rebuild --since DAY` makes anew what the days from then on have, `dbt build --full-refresh` all of it. One
more is told with each call alone: `--vars '{grants: {select: [reporter]}}'`, who may read what is published.

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


def test_what_readme_tells_to_run_is_run_by_a_walk() -> None:
    """A command counts as run when a step of a walk calls it with the same options, whatever the names of things."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^    (?=headrace)([^#\n]+)|`(headrace [a-z][^`]*)`", readme, re.MULTILINE)
    walks = "\n".join(walk.read_text(encoding="utf-8") for walk in (PROJECT / "tests" / "walks").glob("*.walk"))
    steps = [parts(step) for line in re.findall(r"^\$ (.*)", walks, re.MULTILINE) for step in re.split("[&|;]+", line)]
    elsewhere = [("setup", {"--target", "--apply"})]  # on PostgreSQL, by test_warehouses.py
    commands = [parts(block or inline) for block, inline in told]
    assert len(commands) > 15
    for command, options in commands:
        ran = [more for name, more in steps + elsewhere if name == command and options <= more]
        assert ran, f"headrace {command} {' '.join(options)}"


def parts(call: str) -> tuple[str, set[str]]:
    """A call's command and options."""
    words = re.findall(r"[\w./-]+", call)
    command = words[words.index("headrace") + 1] if "headrace" in words[:-1] else ""
    return command, {word for word in words if word.startswith("--")}


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
            change = change.rstrip(".") or "holds from the next build on"
            cells = (f"`{found[1]}`", default(settings()[found[1]]), meaning, change)
            rows.append(f"| {' | '.join(re.sub('[<|>]', escaped, cell) for cell in cells)} |\n")
        elif not line:
            comment = []
    return HEAD + "".join(rows)


def escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


def default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "see `dbt_project.yml`"
    if isinstance(value, list):
        return f"`{value[0]}`, `{value[1]}` and {len(value) - 2} more"
    return "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
