"""The README's programs run as they stand there."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_programs_of_the_readme_run() -> None:
    """The first block declares the application, the second one tests it."""
    program, test = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(program, "README.md", "exec"), names)
    exec(compile(test, "README.md", "exec"), names)
    check = names["test_health_checks_do_not_count"]
    assert callable(check)
    check()


def test_the_readme_names_only_files_that_exist() -> None:
    """Every relative link of the README leads somewhere."""
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
