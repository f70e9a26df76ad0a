"""Links between the pages of the repository: to files that exist, and to their headings."""

import re
from pathlib import Path

import pytest

import fastmlp

ROOT = Path(__file__).parent.parent
BUILT = ("_build", "gallery")
PAGES = [
    *ROOT.glob("*.md"),
    *(path for path in ROOT.glob("docs/**/*.md") if not set(BUILT) & set(path.parts)),
    *ROOT.glob("bench/*.md"),
    *ROOT.glob("examples/*.md"),
]


def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def anchors(page):
    """The names by which a code host and the site link to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    words = [re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    text = prose(page)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for link in links:
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_reference_has_every_public_name():
    text = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   ([\w.]+)$", text, re.M))
    public = {
        name
        for name, value in vars(fastmlp).items()
        if getattr(value, "__module__", "").startswith("fastmlp")
    }
    public |= {f"distributed.{name}" for name in fastmlp.distributed.__all__}
    assert listed == public


def test_pictures_have_both_looks():
    figures = ROOT / "docs" / "figures"
    for page in PAGES:
        for name in re.findall(r"figures/([\w-]+)\.svg\)", prose(page)):
            assert (figures / f"{name}.svg").exists()
            assert (figures / f"{name}-dark.svg").exists()
