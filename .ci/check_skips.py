"""Name the tests that were skipped, and fail on one that is not allowed to be.

    check_skips.py REPORT ALLOWED

REPORT is pytest's JUnit file. ALLOWED has one pattern per line, `module::test`, with `*` for
any text; what follows a `#` is the reason. Expected failures count as skipped.
"""

import sys
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatchcase
from pathlib import Path


def main(report: str, allowed: str) -> int:
    """Compare the two; the result is the exit code."""
    lines = (line.split("#")[0].strip() for line in Path(allowed).read_text().splitlines())
    patterns = [line for line in lines if line]
    # The file is pytest's own, written a moment ago.
    tests = list(ElementTree.parse(report).getroot().iter("testcase"))  # noqa: S314
    ran, refused = 0, 0
    for test in tests:
        skip = test.find("skipped")
        if skip is None:
            ran += 1
            continue
        name = f"{test.get('classname')}::{test.get('name')}"
        fine = any(fnmatchcase(name, pattern) for pattern in patterns)
        refused += not fine
        print(f"{'skipped' if fine else 'SKIPPED, which is not allowed'}: {name}:",
              skip.get("message"))  # fmt: skip
    print(f"{ran} tests ran, {len(tests) - ran} were skipped, {refused} of them without leave.")
    return 1 if refused or not ran else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
