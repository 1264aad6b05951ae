"""Print the generated part of a reference page: `make docs-reference` calls this with the name of each."""

from __future__ import annotations

import sys

from pages import PAGES

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PAGES:
        sys.exit(f"usage: python docs/reference_pages {'|'.join(PAGES)}")
    sys.stdout.write(PAGES[sys.argv[1]]())
