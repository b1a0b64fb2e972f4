"""What the documentation shows is what comes out."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["concepts.md", "errors.md"])
def test_programs_print_what_stands_behind_them(page: str) -> None:
    text = (DOCS / page).read_text()
    program, shown = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(program, "words.py", "exec"), {"__name__": "words"})
    assert said.getvalue().strip() == shown.strip()


def test_the_programs_about_avro_run() -> None:
    """One after the other, as a reader would type them."""
    pytest.importorskip("httpx2", reason="needs penstock[registry]")
    names: dict[str, object] = {"__name__": "orders"}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "avro.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "avro.md", "exec"), names)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that exists."""
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
