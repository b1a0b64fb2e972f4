"""What the documentation shows is what comes out."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_the_topology_in_concepts_is_described_as_it_is() -> None:
    """The program there prints the block behind it."""
    text = (DOCS / "concepts.md").read_text()
    program, shown = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(program, "words.py", "exec"), {"__name__": "words"})
    assert said.getvalue().strip() == shown.strip()


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that exists."""
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
