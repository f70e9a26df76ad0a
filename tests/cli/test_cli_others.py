"""`show`, `export`, `benchmark`, `completion`, help, bad model files, and missing libraries."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import MLPClassifier, Network
from fastmlp._cli import benchmark, main, remarks
from fastmlp._cli import parser as parser_module
from fastmlp._cli.parser import command_parser

COMMANDS = [
    "train", "predict", "evaluate", "show", "export", "benchmark", "completion", "demo", "config",
]  # fmt: skip


def test_show(models, run):
    facts = json.loads(run("show", models.churn, "--json").out)
    model = fastmlp.load(models.churn)
    assert facts["type"] == "TabularMLPClassifier"
    assert facts["bytes"] == os.path.getsize(models.churn)
    assert facts["classes"] == ["no", "yes"]
    kinds = {column["name"]: column["kind"] for column in facts["columns"]}
    assert kinds == {
        "age": "numbers",
        "income": "numbers",
        "city": "strings",
        "member": "truth values",
        "since": "dates",
    }
    assert facts["columns"][2]["values"] == models.train["city"].nunique(dropna=False)
    assert [row["loss"] for row in facts["leaderboard"]] == model.leaderboard_["loss"]
    assert sum(row["share"] for row in facts["leaderboard"]) == pytest.approx(1)
    text = run("show", models.churn).out
    assert re.search(r"^type +TabularMLPClassifier$", text, re.MULTILINE)
    assert re.search(r"^  city +strings \(\d values\)$", text, re.MULTILINE)


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "network"
    X = np.random.default_rng(0).normal(size=(30, 2))
    MLPClassifier((5,), max_iter=3, tol=1e9, n_iter_no_change=1).fit(X, X[:, 0] > 0).save(path)
    return path


def test_show_networks(run, network, tmp_path):
    facts = json.loads(run("show", network, "--json").out)
    assert (facts["type"], facts["layers"]) == ("MLPClassifier", [2, 5, 1])
    Network([3, 4, 2]).save(tmp_path / "bare")
    facts = json.loads(run("show", tmp_path / "bare", "--json").out)
    assert (facts["type"], facts["layers"]) == ("Network", [3, 4, 2])
    assert re.search(r"^layers +3, 4, 2$", run("show", tmp_path / "bare").out, re.MULTILINE)


def test_pipelines(run, models, tmp_path):
    X, y = models.train[["age", "price"]], models.train["churn"]
    model = make_pipeline(
        StandardScaler(), MLPClassifier((5,), max_iter=3, tol=1e9, n_iter_no_change=1)
    ).fit(X, y)
    path = tmp_path / "pipeline"
    fastmlp.save(model, path)
    facts = json.loads(run("show", path, "--json").out)
    assert [step["type"] for step in facts["steps"]] == ["StandardScaler", "MLPClassifier"]
    assert re.search(r"^steps +StandardScaler, MLPClassifier$", run("show", path).out, re.MULTILINE)
    lines = run("predict", path, models.test_csv, "--json").out.splitlines()
    predicted = [json.loads(line)["prediction"] for line in lines]
    assert predicted == model.predict(models.test[["age", "price"]]).tolist()
    arguments = ["evaluate", path, models.test_csv, "--target", "churn", "--json"]
    accuracy = json.loads(run(*arguments).out)["scores"]["accuracy"]
    assert accuracy == np.mean(predicted == models.test["churn"])


def test_several_labels_are_not_evaluated(refused, write, tmp_path):
    X, Y = np.arange(12.0).reshape(6, 2), np.array([[0, 1], [1, 1]] * 3)
    MLPClassifier((3,), max_iter=3, tol=1e9, n_iter_no_change=1).fit(X, Y).save(tmp_path / "m")
    path = write("a,b\n1,2\n")
    assert refused("evaluate", tmp_path / "m", path, "--target", "a").startswith(
        "models of several labels"
    )


def test_export_to_c(run, refused, network, models, tmp_path):
    path = tmp_path / "network.c"
    facts = json.loads(run("export", network, "--c", path, "--json").out)
    assert path.read_text() == fastmlp.load(network).to_c()
    assert facts["written"] == [{"file": str(path), "bytes": os.path.getsize(path)}]
    shown = refused("export", models.churn, "--c", tmp_path / "churn.c")
    assert shown.startswith(f"--c: {models.churn} holds a TabularMLPClassifier, of which there is")
    assert refused("export", network).startswith("export: add --onnx FILE or --c FILE")
    assert sorted(os.listdir(tmp_path)) == ["network", "network.c"]


def test_export_to_onnx(run, refused, models, tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "churn.onnx"
    shown = run("export", models.churn, "--onnx", path)
    assert shown.out == f"{path} ({os.path.getsize(path)} bytes)\n"
    expected = fastmlp.to_onnx(fastmlp.load(models.churn))
    assert onnx.load(path).SerializeToString() == expected.SerializeToString()
    nowhere = tmp_path / "none" / "churn.onnx"
    assert "there is no folder" in refused("export", models.churn, "--onnx", nowhere)


def test_benchmark(run, monkeypatch):
    monkeypatch.setattr(benchmark, "SECONDS_OF_PREDICTIONS", 0.01)
    facts = json.loads(run("benchmark", "--json", "--rows", "200").out)
    assert list(facts["models"]) == ["fastmlp", "HistGradientBoosting", "scikit-learn MLP"]
    for figures in facts["models"].values():
        assert figures["seconds_of_fit"] > 0
        assert figures["rows_a_second"] > 0
        assert 0 <= figures["error"] < 0.5
    monkeypatch.setattr(benchmark, "figures_of", lambda *_: figures)
    lines = run("benchmark", "--rows", "200").out.splitlines()
    assert lines[-1].startswith("scikit-learn MLP ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(run, shell):
    script = run("completion", shell).out
    assert len(script) > 1000
    for word in [*COMMANDS, "--sample-weight", "--interval"]:
        assert word.lstrip("-") in script
    program = shutil.which(shell)
    if program:
        subprocess.run([program, "-n"], input=script, text=True, check=True)


def test_files_that_are_read_are_not_written_over(models, refused, tmp_path):
    data, model = tmp_path / "data.csv", tmp_path / "model.safetensors"
    data.write_bytes(Path(models.test_csv).read_bytes())
    model.write_bytes(Path(models.churn).read_bytes())
    before = data.read_bytes(), model.read_bytes()
    for arguments in (
        ("train", data, "--target", "churn", "--model", data),
        ("predict", model, data, "-o", data),
        ("predict", model, data, "-o", model),
        ("export", model, "--onnx", model),
        ("evaluate", model, data, "--target", "churn", "--plot", data),
    ):
        assert refused(*arguments).endswith("this file is read; write to another one")
    assert (data.read_bytes(), model.read_bytes()) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run, command):
    shown = run(command, "--help")
    assert shown.status == 0
    assert shown.out.startswith(f"usage: fastmlp {command}")
    if command in ("train", "predict", "evaluate", "export", "completion"):
        assert "examples:" in shown.out
    if command in ("train", "predict", "evaluate"):
        assert "N/A" in shown.out


def test_examples_of_help_can_be_parsed():
    parser = command_parser()
    texts = [text for name, text in vars(parser_module).items() if name.startswith("EXAMPLES")]
    examples = "\n".join(texts).replace("\\\n", " ")
    examples = re.findall(r"fastmlp ((?:train|predict|evaluate|show|export) [^|>\n]*)", examples)
    assert len(examples) > 10
    for example in examples:
        words = example.split()
        assert words[-1] == "--help" or parser.parse_args(words).command == words[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command; see fastmlp --help"),
        (["fly"], "argument command: invalid choice: 'fly'"),
        (["predict"], "the following arguments are required: MODEL, DATA"),
        (["show", "a", "b"], "unrecognized arguments: b"),
        (["completion", "fish"], "argument shell: invalid choice: 'fish'"),
    ],
)
def test_usage(refused, arguments, message):
    assert refused(*arguments).startswith(message)


@pytest.mark.parametrize("command", ["predict", "evaluate", "show", "export"])
def test_bad_model_files(models, refused, tmp_path, command):
    others = {"predict": [models.test_csv], "evaluate": [models.test_csv], "show": []}
    rest = others.get(command, ["--c", tmp_path / "out.c"])
    path = tmp_path / "model"
    assert refused(command, path, *rest) == f"{path}: No such file or directory"
    assert refused(command, tmp_path, *rest).startswith(f"{tmp_path}: ")
    whole = (models.folder / "churn").read_bytes()
    for content in (b"", b"some text, not a model", whole[: len(whole) // 2], whole + b"x"):
        path.write_bytes(content)
        assert str(path) in refused(command, path, *rest)
    assert os.listdir(tmp_path) == ["model"]


def test_models_that_cannot_predict(models, refused, write, tmp_path, network):
    Network([5, 4, 2]).save(tmp_path / "bare")
    for command in ("predict", "evaluate"):
        shown = refused(command, tmp_path / "bare", models.test_csv)
        assert shown.startswith(f"{tmp_path / 'bare'}: this is a Network, which has no method pre")
    path = write("a,b,c\n1,2,3\n")
    shown = refused("predict", network, path)
    assert shown == (
        f"{path}: the model was trained on 2 columns without names, but the file has 3"
    )


def test_absent_columns(models, refused, write):
    path = write(models.test.drop(columns=["age", "city"]).to_csv(index=False))
    shown = refused("predict", models.churn, path)
    assert shown.startswith(f"{path}: no column 'age', 'city', which the model was trained on; the")


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("polars", "predict"),
        ("pyarrow", "predict"),
        ("rich", "train"),
        ("shtab", "completion"),
        ("safetensors", "show"),
        ("matplotlib", "evaluate"),
        ("onnx", "export"),
    ],
)
def test_missing_libraries(models, library, command):
    """In a process of its own, as the modules of this one are there."""
    arguments = {
        "predict": [models.churn, models.test_csv],
        "train": [models.train_csv, "--target", "churn", "--model", "none"],
        "completion": ["bash"],
        "show": [models.churn],
        "export": [models.churn, "--onnx", "none.onnx"],
        "evaluate": [models.churn, models.test_csv, "--target", "churn", "--plot", "none.png"],
    }[command]
    source = (
        f"import sys\nsys.modules[{library!r}] = None\n"
        "from fastmlp._cli.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    shown = subprocess.run(
        [sys.executable, "-P", "-c", source, command, *arguments], capture_output=True, text=True
    )
    assert (shown.returncode, shown.stdout) == (1, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("fastmlp: error: ")
    assert library in line
    assert "pip install" in line


def test_demo_and_config_need_none_of_them():
    source = (
        "import sys\nfor name in ('polars', 'pyarrow', 'rich', 'shtab', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "import fastmlp._cli.demo\nfrom fastmlp._cli.main import main\nsys.exit(main(['config']))"
    )
    subprocess.run([sys.executable, "-P", "-c", source], check=True, capture_output=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("command", ["show", "predict"])
def test_full_standard_output(models, command):
    arguments = [command, models.churn, *([models.test_csv] if command == "predict" else [])]
    with open("/dev/full", "wb") as full:
        shown = subprocess.run(
            [sys.executable, "-P", "-m", "fastmlp", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
    assert shown.returncode == 1
    assert shown.stderr == b"fastmlp: error: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (MemoryError("of 3 TB"), "not enough memory: of 3 TB", 1),
        (OSError(28, "No space left on device", "a.csv"), "a.csv: No space left on device", 1),
        (KeyboardInterrupt(), "interrupted", 130),
        (ValueError("two\nlines"), "two lines", 2),
        (ImportError("no x"), "no x", 1),
    ],
)
def test_errors_are_one_line(run, monkeypatch, error, line, status):
    def fail(options):
        raise error

    monkeypatch.setattr("fastmlp._cli.config.run", fail)
    shown = run("config")
    assert (shown.status, shown.err) == (status, f"fastmlp: error: {line}\n")


def test_mistakes_of_ours_are_not_hidden(monkeypatch):
    monkeypatch.setattr("fastmlp._cli.config.run", lambda options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.main(["config"])


def test_warnings_are_one_line(run, monkeypatch):
    import warnings

    def warn(options):
        with warnings.catch_warnings(action="default"):
            warnings.warn("slow\nand old", stacklevel=1)

    monkeypatch.setattr("fastmlp._cli.config.run", warn)
    monkeypatch.setattr(warnings, "showwarning", main.show_warning)
    assert run("config").err == "fastmlp: warning: slow and old\n"


def test_bars(monkeypatch):
    """On a terminal, rich shows the networks of each round and the bytes done."""
    options = SimpleNamespace(quiet=False)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=90, _environ={})
    monkeypatch.setattr(remarks, "error_console", lambda: console)
    with closing(remarks.display_of_fit(options)(None)) as display:
        for n_members in (3, 2):
            display.begin_round(n_members)
            display.end_member(0.25)
            display.end_member(0.5)
            display._progress.refresh()
    assert "round 1: 2/3 networks" in file.getvalue()
    assert "round 2: 2/2 networks" in file.getvalue()
    assert "best loss 0.25" in file.getvalue()
    with remarks.bar_of_bytes(options, 4000) as advance:
        advance(3000)
    assert "3.0/4.0" in file.getvalue()
    before = file.getvalue()
    with remarks.bar_of_bytes(SimpleNamespace(quiet=True), 4000) as advance:
        advance(3000)
    assert file.getvalue() == before
