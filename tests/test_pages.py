"""Pages of the repository: links to files and headings that exist, tables of kept results."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize("script", ["charts", "diagrams"])
def test_pictures_are_drawn_from_what_is_there(script):
    figures = ROOT / "docs" / "figures"
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    text = (figures / f"{script}.py").read_text(encoding="utf-8")
    source = "".join(BLOCK.findall(page)) if script == "charts" else text
    digest = hashlib.sha256(source.encode()).hexdigest()
    names = re.findall(r'^    draw\("(\w+)"', text, re.M)
    assert len(names) >= 6
    old = [
        file
        for name in names
        for file in (f"{name}.svg", f"{name}-dark.svg")
        if digest not in (figures / file).read_text(encoding="utf-8")
    ]
    assert not old, "make -C docs figures"


BLOCK = re.compile(r"<!-- table: .*? -->.*?<!-- end -->", re.S)
PAGES_OF_FIGURES = ("README.md", "docs/benchmarks.md")


def write_tables(root, *options):
    command = [sys.executable, str(root / "bench" / "pages.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.fixture
def copy(tmp_path):
    """The pages with tables of results, the results, and what writes the tables."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bench", tmp_path / "bench", ignore=unwanted)
    (tmp_path / "docs").mkdir()
    for name in PAGES_OF_FIGURES:
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def test_tables_are_those_of_the_results():
    done = write_tables(ROOT, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_figure_changed_by_hand_is_seen(copy):
    page = copy / "README.md"
    text = page.read_text(encoding="utf-8")
    block = BLOCK.search(text)
    digit = re.search(r"(\d)(?= *\|)", block[0]).start() + block.start()
    changed = text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :]
    page.write_text(changed, encoding="utf-8")
    done = write_tables(copy, "--check")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("README.md:")
    assert page.read_text(encoding="utf-8") == changed


def test_new_results_are_written_into_the_pages(copy):
    page = (copy / "README.md").read_text(encoding="utf-8")
    path = copy / "bench" / "results" / f"{re.search(r'table: (.+/run), ', page)[1]}.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    results["training"]["tiny"]["peers"]["fastmlp"]["best"] = 12.5
    path.write_text(json.dumps(results), encoding="utf-8")
    done = write_tables(copy)
    assert (done.returncode, done.stderr) == (0, "")
    for name in (*PAGES_OF_FIGURES, "bench/README.md"):
        text = (copy / name).read_text(encoding="utf-8")
        assert re.search(r"^\| tiny +\| 10-32-32-1, 32 .*\| 12\.5 ", text, re.M)


@pytest.mark.parametrize("name", PAGES_OF_FIGURES)
def test_no_table_of_figures_is_typed(name):
    typed = BLOCK.sub("", (ROOT / name).read_text(encoding="utf-8"))
    assert [line for line in typed.splitlines() if re.match(r"\|.*\d.*\|", line)] == []
