"""Sphinx's configuration. `make docs` builds the repository's own Markdown pages, where they lie, into one site."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

from geminifusion import __version__

project = "geminifusion"
author = "The geminifusion developers"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

# The source directory is the repository, so that one relative link works on the site and on the repository's page.
include_patterns = ["*.md", "docs/**.md", "model/README.md", "export/README.md", "export/plugin/README.md"]
include_patterns += ["service/README.md", "runtime/**/MODEL_CARD.md"]
exclude_patterns = ["**/.*", "docs/images", "runs", "dist", "site", "demo-output"]
root_doc = "docs/README"

myst_heading_anchors = 6
myst_enable_extensions = ["html_image"]  # images beside each other
myst_links_external_new_tab = False

# Docstrings are Google's sections around Markdown's single backticks.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"

html_theme = "furo"
html_title = f"geminifusion {release}"
html_copy_source = False
html_show_copyright = False
templates_path = ["site"]
html_additional_pages = {"index": "to_first_page.html"}

_HIDDEN_DIRECTIVE = re.compile(r"<!-- (\{[\w-]+\}.*?)\n-->", re.DOTALL)
_FENCE = re.compile(r"^```(\w+)$")


def reveal_directives(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make directives of those in HTML comments, which the repository's own page does not show."""
    source[0] = _HIDDEN_DIRECTIVE.sub(r"```\1\n```", source[0])


def fences_to_blocks(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn the Markdown fences of a docstring into what reStructuredText calls a code block."""
    block: list[str] = []
    inside = False
    for line in lines:
        if opened := None if inside else _FENCE.match(line.strip()):
            block += [f".. code-block:: {opened[1]}", ""]
        elif line.strip() != "```":
            block.append(f"    {line}" if inside else line)
        inside = opened is not None or (inside and line.strip() != "```")
    lines[:] = block


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the hooks above; docstrings before napoleon reads them."""
    app.connect("source-read", reveal_directives)
    app.connect("autodoc-process-docstring", fences_to_blocks, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
