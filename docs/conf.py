"""The settings of Sphinx for the documentation. `make -C docs html` builds it."""

import os
import re
import sys
from pathlib import Path

from docutils import nodes

import fastmlp

HERE = Path(__file__).parent

project = "fastmlp"
author = "The fastmlp developers"
project_copyright = author
version = release = fastmlp.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "sg_execution_times.rst", "**/sg_execution_times.rst"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # functions below, which Sphinx cannot keep between two builds
default_role = "literal"

# Markdown
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# The reference: one page for each class, with all of its methods
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False


class PicturesFirst:
    """The order of the examples: those of clusters, which draw nothing, come last."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name):
        return name.startswith("cluster_"), name


# The gallery
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # Clusters need more libraries, and MNIST a download. Their pages have what an earlier run has
    # printed or drawn.
    "filename_pattern": r"examples/(?!cluster_|mnist_)\w+\.py$",
    "ignore_pattern": r"^_",
    "reset_argv": lambda gallery_conf, script_vars: ["--output="],  # no file
    "backreferences_dir": "api/backreferences",
    "doc_module": ("fastmlp",),
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "plot_gallery": True,
    "abort_on_example_error": True,
    "within_subsection_order": PicturesFirst,
    "default_thumb_file": str(HERE / "figures" / "code.svg"),
    "notebook_extensions": set(),  # _picture.py would be missing beside a notebook
    "matplotlib_animations": False,
    "min_reported_time": 0,
}

# The look
html_theme = "pydata_sphinx_theme"
html_title = "fastmlp"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "logo": {"text": "fastmlp"},
    "header_links_before_dropdown": 5,
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
# Pages with nothing to navigate at their left, or with tables that need its room.
WIDE = ["index", "get-started", "how-it-works", "reliability", "changelog", "contributing"]
WIDE += ["benchmarks", "benchmarks-in-full", "figures-behind-the-tricks"]
html_sidebars = {name: [] for name in WIDE}

# Pages of the site that stand elsewhere in the repository. Links to them lead to their pages.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "bench/README.md": "benchmarks-in-full.md",
    "bench/figures.md": "figures-behind-the-tricks.md",
    "examples/README.md": "gallery/index.rst",
    "examples/serving/service.py": "gallery/serving/service.rst",
}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def lead_to_pages(text, folder, page):
    """The text of a Markdown file, where links to files outside of docs/ lead to their pages.

    Parameters
    ----------
    text : str
        The Markdown.

    folder : Path
        The folder that its links start from.

    page : Path
        The page of the site that has the text.
    """

    def lead(link):
        target = Path(os.path.normpath(folder / link[1]))
        name = target.relative_to(HERE.parent).as_posix()
        if name in PAGES:
            target = HERE / PAGES[name]
        elif re.fullmatch(r"examples/\w+\.py", name):
            target = HERE / "gallery" / f"{target.stem}.rst"
        return os.path.relpath(target, page.parent).replace(os.sep, "/") + (link[2] or "")

    return LINK.sub(lead, text)


def read_source(app, docname, source):
    """Before a page is parsed: see lead_to_pages."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    included = re.fullmatch(r"```{include} (\S+)\n```\n", source[0])
    if included:  # the whole page is a file outside of docs/
        page_of_text = (page.parent / included[1]).resolve()
        app.env.note_dependency(str(page_of_text))
        text = page_of_text.read_text(encoding="utf-8")
        source[0] = lead_to_pages(text, page_of_text.parent, page)
    else:
        source[0] = lead_to_pages(source[0], page.parent, page)


def add_dark_pictures(app, doctree):
    """Beside every picture that has a dark form, NAME-dark.svg, put that for dark pages."""
    for image in list(doctree.findall(nodes.image)):
        if app.env.docname == "how-it-works":
            image["classes"].append("wide")  # on a phone it scrolls, rather than being too small
        uri = image["uri"]
        dark = re.sub(r"\.svg$", "-dark.svg", uri)
        if dark == uri or not (HERE / dark).exists():
            continue
        partner = image.deepcopy()
        image["classes"].append("only-light")
        partner["classes"].append("only-dark")
        partner["uri"] = dark
        partner["candidates"] = {"*": dark}
        app.env.images.add_file(app.env.docname, dark)
        image.parent.insert(image.parent.index(image) + 1, partner)


def for_these_pages(app, what, name, obj, options, lines):
    """What scikit-learn's docstrings have for its own site becomes plain text, or is left out."""
    lines[:] = [line for line in lines if not line.strip().startswith(".. versionadded::")]
    for i, line in enumerate(lines):
        lines[i] = re.sub(r":(?:ref|term|math):`([^`<]*?)\s*(?:<[^`>]*>)?`", r"\1", line)


def setup(app):
    """Connect the functions above."""
    sys.path.insert(0, str(HERE.parent / "examples"))  # _picture
    app.connect("source-read", read_source)
    app.connect("doctree-read", add_dark_pictures)
    app.connect("autodoc-process-docstring", for_these_pages, priority=1)
