"""The package as a stranger meets it: imports, messages, the command, the examples."""

import ast
import doctest
import importlib
import inspect
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

import fastmlp
from fastmlp import _core
from fastmlp._cli.demo import Fit, patients, take_turns, verdict, verdict_of_table
from fastmlp._cli.main import main

PACKAGE = Path(fastmlp.__file__).parent
MOST_LINES = 520
README = Path(__file__).parent.parent / "README.md"
PYPROJECT = README.parent / "pyproject.toml"

# The folders from top to bottom: a folder imports only from those below it, and from itself.
LAYERS = [
    {"__main__"},
    {"_cli"},
    {"__init__"},
    {"distributed"},
    {"_onnx"},
    {"_inspection", "_files"},
    {"_tabular"},
    {"_estimators"},
    {"_distributed"},
    {"_training"},
    {"_engine"},
    {"_core", "_guard"},
]
# In the folders above these, scikit-learn may be imported.
WITHOUT_SCIKIT_LEARN = ("_distributed", "_training", "_engine")


def folder_of(path):
    """The folder of a module, or its own name where it stands in none."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """(folders of fastmlp, names of other packages' modules) that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    ours = {name.split(".")[1] for name in names if re.match(r"fastmlp\._[a-z]", name)}
    return ours, {name for name in names if not name.startswith("fastmlp.")}


MODULES = sorted(PACKAGE.glob("**/*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_down(path):
    folder = folder_of(path)
    (place,) = [i for i, folders in enumerate(LAYERS) if folder in folders]
    ours, others = imports(path)
    below = set().union(*LAYERS[place + 1 :])
    assert ours <= below | {folder}
    if folder in WITHOUT_SCIKIT_LEARN:
        assert not [name for name in others if name.split(".")[0] == "sklearn"]


def test_every_folder_has_a_place():
    folders = {path.parent.name for path in PACKAGE.glob("_*/__init__.py")}
    assert folders <= set().union(*LAYERS)


def test_names_that_scikit_learn_does_not_promise_come_in_by_one_file():
    private = [
        path.name
        for path in MODULES
        if any(re.match(r"sklearn\b.*\._", name) for name in imports(path)[1])
    ]
    assert private == ["sklearn_private.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_source_folder_says_what_to_do(tmp_path):
    folder = tmp_path / "fastmlp"
    folder.mkdir()
    for path in MODULES:
        copy = folder / path.relative_to(PACKAGE)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    shown = subprocess.run(
        # -S: without site-packages, where an editable install would step in
        [sys.executable, "-S", "-c", "import fastmlp"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert shown.returncode != 0
    assert "ImportError: This is the source folder of fastmlp" in shown.stderr
    assert "pip install ." in shown.stderr
    assert "During handling" not in shown.stderr


def test_tests_run_against_a_compiled_package():
    assert Path(_core.__file__).parent == PACKAGE


def test_package_is_typed():
    assert (PACKAGE / "py.typed").exists()
    stub = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            arguments = [argument.arg for argument in node.args.args]
            assert list(inspect.signature(getattr(_core, node.name)).parameters) == arguments
    declared = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    declared |= {node.target.id for node in stub.body if isinstance(node, ast.AnnAssign)}
    assert {"train", "add_gradient", "evaluate", "forward", "ACTIVATIONS", "LAYER"} <= declared
    assert all(hasattr(_core, name) for name in declared - {"_Numbers", "_Rows", "_Table"})


def test_demo(capsys, monkeypatch):
    monkeypatch.setattr("fastmlp._cli.demo.DEMO_SECONDS", 0.5)
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "30/30" in out
    row = r"^(fastmlp|scikit-learn) +(\d\.\d{4}) +(\d+\.\d{4}) +(\d+\.\d{4})$"
    rows = re.findall(row, out, re.MULTILINE)
    assert [row[0] for row in rows] == ["fastmlp", "scikit-learn"]
    assert all(float(accuracy) > 0.95 for _, accuracy, _, _ in rows)
    assert all(float(best) <= float(middle) for _, _, best, middle in rows)
    ratio, kind = re.search(r"1/(\d+\.\d) of scikit-learn's time: the (best|median)", out).groups()
    column = 2 if kind == "best" else 3
    expected = float(rows[1][column]) / float(rows[0][column])
    assert float(ratio) == pytest.approx(expected, rel=0.02, abs=0.06)
    trials = {n: float(s) for s, n in re.findall(r"(\d+\.\d{3}) s with (\d+)", out)}
    if trials:  # BLAS can be told
        assert "1" in trials
        assert trials[re.search(r"It gets (\d+)", out)[1]] == min(trials.values())


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio", "range_of_ratios"),
    [
        ([2, 1, 1], [6, 5, 5], "5.0 of scikit-learn's time: the best of 3 turns", None),
        ([1, 2, 3], [8, 8, 8], "4.0 of scikit-learn's time: the median of 3", ("2.7", "8.0")),
        ([1, 1, 1], [9, 4, 8], "8.0 of scikit-learn's time: the median of 3", ("4.0", "9.0")),
        ([1], [6], "6.0 of scikit-learn's time: the median of 1", ("6.0", "6.0")),
    ],
)
def test_verdict_of_demo(ours, theirs, ratio, range_of_ratios):
    """By the best turns, or where they differ much by those in the middle."""
    text = verdict(ours, theirs)
    assert f"fastmlp took 1/{ratio}" in text
    found = re.search(r"seems busy .* it was 1/(\S+) to 1/(\d+\.\d)", text)
    assert (found and found.groups()) == range_of_ratios


def test_turns_of_demo(monkeypatch):
    """Turn about, each as many fits as fill its time, until the time of all is over."""
    now, fits = [0.0], []

    class Fit:
        def __init__(self, seconds):
            self.seconds = seconds

        def fit(self, X, y):
            now[0] += self.seconds
            fits.append(self.seconds)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("fastmlp._cli.demo.SECONDS_OF_TURN", 6)
    monkeypatch.setattr("fastmlp._cli.demo.DEMO_SECONDS", 20)
    contestants = {"fastmlp": (Fit(2), None), "scikit-learn": (Fit(7), 1)}
    assert take_turns(contestants, None, None) == {"fastmlp": [2, 2], "scikit-learn": [7, 7]}
    assert fits == [2, 2, 2, 7] * 2
    monkeypatch.setattr("fastmlp._cli.demo.DEMO_SECONDS", 0)
    assert take_turns(contestants, None, None) == {"fastmlp": [2], "scikit-learn": [7]}


def test_demo_of_table(capsys, monkeypatch):
    """One split, whose figures of HistGradientBoosting are computed here once more."""
    monkeypatch.setattr("fastmlp._cli.demo.TABLE_SECONDS", 0)
    assert main(["demo", "--table"]) == 0
    out = capsys.readouterr().out
    row = r"^(fastmlp|HistGradientBoosting) +(\d+\.\d)% +(\d\.\d{3}) +(\d+\.\d\d)$"
    rows = re.findall(row, out, re.MULTILINE)
    assert [row[0] for row in rows] == ["fastmlp", "HistGradientBoosting"]
    X, y = patients()
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.25, random_state=0, stratify=y
    )
    theirs = HistGradientBoostingClassifier(categorical_features=[1, 10], random_state=0)
    theirs.fit(X_train, y_train)
    assert rows[1][1] == f"{100 * (1 - theirs.score(X_test, y_test)):.1f}"
    of_true = theirs.predict_proba(X_test)[y_test == "faster", 0].tolist()
    of_true += theirs.predict_proba(X_test)[y_test == "slower", 1].tolist()
    assert rows[1][2] == f"{-np.mean(np.log(of_true)):.3f}"
    assert float(rows[0][1]) < 35  # half of the rows are in each class
    assert "Means of 1 split(s) into 331 rows to train on and 111 to test." in out


def test_table_of_demo():
    X, y = patients()
    original, progression = load_diabetes(return_X_y=True, scaled=False)
    assert X.shape == (442, 11)
    missing = np.isnan(X)
    assert 0.04 < missing.mean() < 0.06
    np.testing.assert_array_equal(X[:, :10], np.where(missing[:, :10], np.nan, original))
    known = ~missing[:, 10]
    body_mass = original[:, 2]
    expected = np.where(body_mass < 25, 0, np.where(body_mass < 30, 1, 2))
    np.testing.assert_array_equal(X[known, 10], expected[known])
    assert (y == "faster").sum() == 221
    assert progression[y == "faster"].min() > progression[y == "slower"].max()


def test_splits_of_demo_of_table(capsys, monkeypatch):
    """Splits follow until their time is over, and the figures are means over them."""
    now, figures = [0.0], iter([Fit(0.1, 0.5, 4), Fit(0.3, 0.4, 1), Fit(0.2, 0.1, 2), Fit(0, 0, 3)])

    def fit_on_split(*_):
        now[0] += 2
        return next(figures)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("fastmlp._cli.demo.fit_on_split", fit_on_split)
    monkeypatch.setattr("fastmlp._cli.demo.TABLE_SECONDS", 6)
    main(["demo", "--table"])
    out = capsys.readouterr().out
    assert re.search(r"^fastmlp +15\.0% +0\.300 +3\.00$", out, re.MULTILINE)
    assert re.search(r"^HistGradientBoosting +15\.0% +0\.200 +2\.00$", out, re.MULTILINE)
    assert "Means of 2 split(s)" in out
    assert next(figures, None) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (
            Fit(0.2, 0.5, 3.0), Fit(0.25, 0.6, 1.0),
            "fastmlp is wrong for 20.0% of the test rows, and HistGradientBoosting for 25.0%.\n"
            "The probabilities of fastmlp are better: its log loss is lower.\n"
            "fastmlp takes 3.0 times as long.",
        ),
        (
            Fit(0.2, 0.6, 1.0), Fit(0.1, 0.5, 2.0),
            "fastmlp is wrong for 20.0% of the test rows, and HistGradientBoosting for 10.0%.\n"
            "The probabilities of HistGradientBoosting are better: its log loss is lower.\n"
            "HistGradientBoosting takes 2.0 times as long.",
        ),
    ],
)  # fmt: skip
def test_verdict_of_table(ours, theirs, expected):
    assert verdict_of_table(ours, theirs) == expected


def test_command_line(capsys):
    assert main(["config"]) == 0
    assert "kernels" in capsys.readouterr().out
    for arguments, status in ((["--version"], 0), ([], 2), (["fly"], 2)):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == status


@pytest.mark.parametrize("command", [[sys.executable, "-P", "-m", "fastmlp"], ["fastmlp"]])
def test_command_is_installed(command, tmp_path):
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shown = subprocess.run(
        [*command, "--version"],
        cwd=tmp_path,
        env={**os.environ, "PATH": scripts},
        capture_output=True,
        text=True,
    )
    assert shown.stdout == f"fastmlp {fastmlp.__version__}\n"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_docstring_examples(path):
    if path.name == "__main__.py":
        pytest.skip("importing it is running it")
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    assert doctest.testmod(importlib.import_module(module)).failed == 0


CLASSES = tuple(public for public in vars(fastmlp).values() if inspect.isclass(public))
FUNCTIONS = [public for public in vars(fastmlp).values() if inspect.isfunction(public)]
PUBLIC = [
    f"fastmlp.{public.__name__}"
    for public in (*CLASSES, *FUNCTIONS)
    if public.__module__.startswith("fastmlp")
]
PUBLIC += [f"fastmlp.distributed.{name}" for name in ("mpi", "dask", "ray")]
PUBLIC += [
    f"fastmlp.{public.__name__}.{name}"
    for public in CLASSES
    for name in dir(public)
    if not name.startswith("_")
    and callable(method := getattr(public, name))
    and (getattr(method, "__module__", "") or "").startswith("fastmlp")
]
# What makes a docstring incomplete; the other codes are about its form, or about "See Also".
INCOMPLETE = {"GL08", "SS01", "PR01", "PR02", "PR03", "PR04", "PR07", "RT01", "EX01"}


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_is_complete(name):
    validate = pytest.importorskip("numpydoc.validate").validate
    assert [text for code, text in validate(name)["errors"] if code in INCOMPLETE] == []


@pytest.mark.parametrize(
    "page", [README, *README.parent.glob("docs/**/*.md")], ids=lambda p: p.name
)
def test_examples_of_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, page.name, "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", [*README.parent.glob("docs/**/*.md")], ids=lambda p: p.name)
def test_sketches_of_pages_are_python(page):
    """A block of `py` needs what the tests do not have, such as a cluster, and is not run."""
    for block in re.findall(r"```py\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        compile(block, page.name, "exec")


def test_the_version_to_cite_is_the_version():
    text = (README.parent / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    assert re.search(r"^version: (\S+)$", text, re.M)[1] == project["version"]


def test_readme_has_an_example():
    assert "```python" in README.read_text(encoding="utf-8")


def requirements(name, extras):
    """The requirements of an extra, and of the extras of fastmlp among them."""
    for requirement in map(Requirement, extras[name]):
        if requirement.name == "fastmlp":
            for other in requirement.extras:
                yield from requirements(other, extras)
        else:
            yield requirement


def lower_bounds(all_requirements):
    """(name, version) of those with a lower bound."""
    return {
        (requirement.name, Version(specifier.version))
        for requirement in all_requirements
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }


def test_oldest_versions_are_the_lower_bounds():
    """What the extras of the tests install is pinned, and every place declares the same bound."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"] | {"": project["dependencies"]}
    lines = Path(__file__).with_name("oldest.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        (pin.name, Version(specifier.version))
        for pin in map(Requirement, (line for line in lines if not line.startswith("#")))
        for specifier in pin.specifier
        if specifier.operator == "=="
    }
    names = {name for name, _ in pins}
    installed = (requirements(name, extras) for name in ("", "test", "distributed"))
    of_tests = lower_bounds(itertools.chain.from_iterable(installed))
    everywhere = lower_bounds(it for extra in extras for it in requirements(extra, extras))
    assert of_tests == pins
    assert {bound for bound in everywhere if bound[0] in names} == pins
