"""`fastmlp predict`: beside predictions of the same model for a frame of pandas."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
from conftest import FEATURES

import fastmlp
from fastmlp._cli import blocks, columnar_rows

COMMAND = [sys.executable, "-P", "-m", "fastmlp"]


def frame_of(csv, **options):
    if int(pd.__version__.split(".")[0]) < 3:  # its own way of reading numbers is not exact
        options["float_precision"] = "round_trip"
    return pd.read_csv(io.StringIO(csv), **options)


@pytest.fixture
def expected(models):
    """The probabilities by the model itself, for the rows of test.csv."""
    return fastmlp.load(models.churn).predict_proba(models.test[FEATURES])


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BYTES_OF_BLOCK", 500)


def test_classes_and_probabilities(models, run, expected):
    shown = run("predict", models.churn, models.test_csv, "--proba")
    assert (shown.status, shown.err) == (0, "")
    frame = frame_of(shown.out)
    assert list(frame) == ["prediction", "probability of no", "probability of yes"]
    np.testing.assert_array_equal(frame.iloc[:, 1:], expected)
    names = np.array(["no", "yes"])[expected.argmax(axis=1)]
    np.testing.assert_array_equal(frame["prediction"], names)
    alone = frame_of(run("predict", models.churn, models.test_csv).out)
    assert list(alone) == ["prediction"]
    np.testing.assert_array_equal(alone["prediction"], names)


@pytest.mark.parametrize(("given", "coverage"), [([], 0.9), (["0.5"], 0.5)])
def test_numbers_and_intervals(models, run, given, coverage):
    model = fastmlp.load(models.price)
    shown = run("predict", models.price, models.test_csv, "--interval", *given)
    frame = frame_of(shown.out)
    assert list(frame) == ["prediction", "lower", "upper"]
    X = models.test[FEATURES]
    np.testing.assert_array_equal(frame["prediction"], model.predict(X))
    np.testing.assert_array_equal(frame[["lower", "upper"]], model.predict_interval(X, coverage))


def test_unknown_extension_of_the_output(models, refused, run, tmp_path):
    output = tmp_path / "out.xlsx"
    said = refused("predict", models.churn, models.test_csv, "-o", output)
    assert "no tables can be written to a file with the extension '.xlsx'" in said
    assert not output.exists()
    assert (
        run("predict", models.churn, models.test_csv, "-o", output, "--output-format", "csv").status
        == 0
    )


def test_a_column_is_copied_once(models, run):
    lines = run("predict", models.churn, models.test_csv, "--keep", "age,age").out.splitlines()
    assert lines[0] == "age,prediction"


@pytest.mark.usefixtures("small_blocks")
def test_order_of_rows_in_many_pieces(models, run, expected):
    shown = run("predict", models.churn, models.test_csv, "--proba", "--keep", "price,age")
    frame = frame_of(shown.out)
    np.testing.assert_array_equal(frame["price"], models.test["price"])
    np.testing.assert_array_equal(frame["age"], models.test["age"])
    np.testing.assert_array_equal(frame["probability of yes"], expected[:, 1])


def test_copied_columns_are_spelled_as_before(models, run, write):
    rows = ["007,1e3,NA,True,2020-05-05,x", '8," 5 ","Trier, old town",FALSE,2020-05-06,']
    path = write("\n".join(["age,income,city,member,since,note", *rows]))
    shown = run("predict", models.churn, path, "--with-input")
    assert shown.status == 0
    lines = shown.out.splitlines()
    assert lines[0] == "age,income,city,member,since,note,prediction"
    assert lines[1].startswith(rows[0] + ",")
    assert next(pd.read_csv(io.StringIO(shown.out), chunksize=9))["income"].tolist() == [1000, 5]


def test_columns_by_name_and_others_ignored(models, run, write, expected):
    table = models.test[["churn", *reversed(FEATURES)]].assign(other="z")
    path = write(table.to_csv(index=False))
    frame = frame_of(run("predict", models.churn, path, "--proba").out)
    np.testing.assert_array_equal(frame["probability of no"], expected[:, 0])


@pytest.mark.parametrize("extension", ["parquet", "pq", "arrow", "feather", "ipc"])
def test_columnar_files_in_and_out(models, run, tmp_path, monkeypatch, expected, extension):
    monkeypatch.setattr(columnar_rows, "ROWS_OF_PIECE", 25)
    data, output = str(tmp_path / f"data.{extension}"), tmp_path / f"out.{extension}"
    write_columnar(models.test, data)
    shown = run("predict", models.churn, data, "--proba", "--keep", "since", "-o", output)
    assert (shown.status, shown.out, shown.err) == (0, "", "")
    read = pd.read_parquet if extension in ("parquet", "pq") else pd.read_feather
    frame = read(output)
    np.testing.assert_array_equal(frame["probability of yes"], expected[:, 1])
    assert frame["since"].tolist() == models.test["since"].tolist()
    assert (
        os.listdir(tmp_path) == [f"data.{extension}", output.name] or len(os.listdir(tmp_path)) == 2
    )


def write_columnar(frame, path):
    if path.endswith(("parquet", "pq")):
        frame.to_parquet(path)
    else:
        pa.feather.write_feather(pa.Table.from_pandas(frame), path)


def test_formats_by_option(models, run, tmp_path, expected):
    data, output = str(tmp_path / "data.bin"), str(tmp_path / "out.bin")
    models.test.to_parquet(data)
    assert "Parquet" in run("predict", models.churn, data).err
    formats = ["--format", "parquet", "--output-format", "arrow"]
    assert run("predict", models.churn, data, "--proba", "-o", output, *formats).status == 0
    np.testing.assert_array_equal(
        pa.feather.read_table(output)["probability of no"].to_numpy(), expected[:, 0]
    )


def test_json_has_an_object_for_each_row(models, run, expected):
    shown = run("predict", models.churn, models.test_csv, "--json", "--proba", "--keep", "city")
    objects = [json.loads(line) for line in shown.out.splitlines()]
    assert [row["probability of no"] for row in objects] == expected[:, 0].tolist()
    assert list(objects[0]) == ["city", "prediction", "probability of no", "probability of yes"]
    infinite = run("predict", models.price, models.test_csv, "--json", "--interval", "0.9999")
    first = json.loads(infinite.out.splitlines()[0], parse_constant=pytest.fail)
    assert first["lower"] is None


def test_no_rows(models, run, write):
    path = write("age,income,city,member,since\n")
    shown = run("predict", models.churn, path, "--proba", "--keep", "city")
    assert shown.out == "city,prediction,probability of no,probability of yes\n"
    assert run("predict", models.price, path, "--interval").out == "prediction,lower,upper\n"
    assert run("predict", models.churn, path, "--json").out == ""


def test_semicolons_and_decimal_commas(models, run, write):
    commas = models.test[FEATURES].to_csv(index=False, sep=";", decimal=",")
    path = write(commas)
    shown = run("predict", models.price, path, "--decimal", ",", "--keep", "income")
    frame = frame_of(shown.out, sep=";", decimal=",")
    model = fastmlp.load(models.price)
    np.testing.assert_array_equal(frame["prediction"], model.predict(models.test[FEATURES]))
    pd.testing.assert_series_equal(frame["income"], models.test["income"])


@pytest.mark.parametrize("separator", [";", "tab", "|", ",", "~"])
def test_separators(models, run, write, separator, expected):
    mark = "\t" if separator == "tab" else separator
    path = write(models.test.to_csv(index=False, sep=mark))
    option = ["--separator", separator] if separator == "~" else []
    shown = run("predict", models.churn, path, "--proba", *option)
    frame = frame_of(shown.out, sep=mark)
    np.testing.assert_array_equal(frame["probability of yes"], expected[:, 1])


@pytest.mark.parametrize("blocks_of", [500, 1 << 20])
def test_forms_of_csv(models, run, write, monkeypatch, blocks_of, expected):
    """A byte order mark, line breaks of Windows and in quotes, empty lines at the end."""
    monkeypatch.setattr(blocks, "BYTES_OF_BLOCK", blocks_of)
    table = models.test.assign(note='two\nlines, "quoted"')
    text = table.to_csv(index=False, lineterminator="\r\n")
    path = write(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    shown = run("predict", models.churn, path, "--proba", "--keep", "note")
    frame = frame_of(shown.out)
    np.testing.assert_array_equal(frame["probability of yes"], expected[:, 1])
    assert set(frame["note"]) == {'two\nlines, "quoted"'}


def test_kinds_are_those_of_the_training(run, write, tmp_path):
    """Numbers that are whole in one file, codes of digits, and truth values of several forms."""
    letters = "\n".join(f"{i}.5,{'ab7'[i % 3]},{'TF'[i % 2]},{i % 2}" for i in range(30))
    letters = letters.replace(",T,", ",True,").replace(",F,", ",False,")
    train = write(f"number,code,flag,target\n{letters}\n", "train.csv")
    model = str(tmp_path / "model")
    quick = ["--members", "1", "--quiet"]
    assert run("train", train, "--target", "target", "--model", model, *quick).status == 0
    digits = "\n".join(f"{i},7,{['true', '0', 'FALSE', '1'][i % 4]}" for i in range(12))
    shown = run("predict", model, write(f"number,code,flag\n{digits}\n"), "--proba")
    frame = pd.DataFrame(
        {
            "number": np.arange(12.0),
            "code": ["7"] * 12,
            "flag": [True, False, False, True] * 3,
        }
    )
    expected = fastmlp.load(model).predict_proba(frame)
    np.testing.assert_array_equal(frame_of(shown.out)["probability of 1"], expected[:, 1])


@pytest.mark.parametrize("mark", ["", '""', "NA", "N/A", "NaN", "nan", "null", "NULL", "#N/A"])
def test_marks_of_missing_values(models, run, write, mark):
    row = f"30,{mark},{mark},{mark},{mark}"
    shown = run("predict", models.churn, write(f"{','.join(FEATURES)}\n{row}\n"), "--proba")
    frame = pd.DataFrame([[30, np.nan, None, None, pd.NaT]], columns=FEATURES)
    expected = fastmlp.load(models.churn).predict_proba(frame)
    np.testing.assert_array_equal(frame_of(shown.out).iloc[:, 1:], expected)


def test_models_on_numbers_alone(run, write, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = np.column_stack([X.sum(axis=1), X[:, 0]])
    settings = {"hidden_layer_sizes": (5,), "max_iter": 3, "tol": 1e9, "n_iter_no_change": 1}
    models = {
        "classes": fastmlp.MLPClassifier(**settings).fit(X, y[:, 0] > 0),
        "numbers": fastmlp.MLPRegressor(**settings).fit(pd.DataFrame(X, columns=["a", "b"]), y),
    }
    path = write(pd.DataFrame(X, columns=["b", "a"]).to_csv(index=False))
    for name, model in models.items():
        model.save(str(tmp_path / name))
    shown = run("predict", tmp_path / "classes", path, "--proba")
    np.testing.assert_array_equal(
        frame_of(shown.out).iloc[:, 1:], models["classes"].predict_proba(X)
    )
    frame = frame_of(run("predict", tmp_path / "numbers", path).out)
    assert list(frame) == ["prediction 0", "prediction 1"]
    named = pd.DataFrame(X[:, ::-1], columns=["a", "b"])
    np.testing.assert_array_equal(frame, models["numbers"].predict(named))


def test_one_network_in_place_of_the_ensemble(models, run, tmp_path):
    model = tmp_path / "model"
    arguments = ["train", models.train_csv, "--target", "churn", "--exclude", "price"]
    run(*arguments, "--model", model, "--members", "2", "--refit-single")
    frame = frame_of(run("predict", model, models.test_csv, "--proba").out)
    expected = fastmlp.load(model).predict_proba(models.test[FEATURES])
    np.testing.assert_array_equal(frame.iloc[:, 1:], expected)
    assert json.loads(run("show", model, "--json").out)["columns"][0]["name"] == "age"


def start(arguments, **streams):
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    return subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, env=buffered, **streams)


def test_pipe_is_answered_row_by_row(models):
    """The answer to a row comes while the input is still open."""
    arguments = ["predict", models.churn, "-", "--keep", "age"]
    lines = models.test[FEATURES].to_csv(index=False).encode().splitlines(keepends=True)
    with start(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        end = threading.Timer(30, process.kill)
        end.start()
        process.stdin.write(lines[0])
        for i, line in enumerate(lines[1:6]):
            process.stdin.write(line)
            process.stdin.flush()
            if i == 0:
                assert process.stdout.readline() == b"age,prediction\n"
            assert process.stdout.readline().split(b",")[0] == line.split(b",")[0]
        process.stdin.close()
        assert (process.wait(), process.stdout.read(), process.stderr.read()) == (0, b"", b"")
        end.cancel()


def test_columnar_streams(models, tmp_path, expected):
    data = tmp_path / "data.arrow"
    table = pa.Table.from_pandas(models.test)
    with pa.OSFile(str(data), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    formats = ["--format", "arrow", "--output-format", "parquet"]
    shown = subprocess.run(
        [*COMMAND, "predict", models.churn, "-", "--proba", *formats],
        input=data.read_bytes(),
        capture_output=True,
        check=True,
    )
    frame = pd.read_parquet(io.BytesIO(shown.stdout))
    np.testing.assert_array_equal(frame["probability of yes"], expected[:, 1])


@pytest.fixture
def endless(models):
    """The arguments of a prediction of rows that go on until the reader has gone."""
    header, row = models.test[FEATURES].to_csv(index=False).splitlines()[:2]
    source = f"print({header!r})\nwhile True: print({row!r})"
    with subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as producer:
        yield producer
        producer.kill()


def test_broken_pipe_ends_quietly(models, endless):
    arguments = ["predict", models.churn, "-"]
    with start(arguments, stdin=endless.stdout, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"prediction\n"
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (141, b"")


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [(signal.SIGINT, 130, b"fastmlp: error: interrupted\n"), (signal.SIGTERM, 143, b"")],
)
def test_interruption_leaves_the_old_file(models, endless, tmp_path, number, status, message):
    output = tmp_path / "out.csv"
    output.write_text("old")
    arguments = ["predict", models.churn, "-", "-o", str(output)]
    with start(arguments, stdin=endless.stdout) as process:
        began = time.monotonic()
        while len(os.listdir(tmp_path)) < 2 and time.monotonic() - began < 30:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(number)
        assert (process.wait(30), process.stderr.read()) == (status, message)
    assert os.listdir(tmp_path) == ["out.csv"]
    assert output.read_text() == "old"


@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss")
def test_memory_is_bounded(models, tmp_path):
    """A file that is larger by 29 MB takes about as much memory."""
    table = models.test[FEATURES].assign(note="long " * 200)
    lines = table.to_csv(index=False).splitlines(keepends=True)
    peaks = []
    source = (
        "import resource, sys\nfrom fastmlp._cli import blocks\n"
        "blocks.BYTES_OF_BLOCK = 1 << 18\nfrom fastmlp._cli.main import main\n"
        "status = main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\nsys.exit(status)"
    )
    for n in (20, 500):
        path = tmp_path / f"{n}.csv"
        path.write_text(lines[0] + "".join(lines[1:]) * n)
        arguments = ["predict", models.churn, str(path), "-o", str(tmp_path / "out.csv")]
        arguments += ["--keep", "note"]
        shown = subprocess.run(
            # The shell, as a process inherits the peak of the one that has started it.
            ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-P", "-c", source, *arguments],
            capture_output=True,
            check=True,
        )
        peaks.append(1024 * int(shown.stdout))
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == 30_001
    assert peaks[1] - peaks[0] < 10e6


def test_full_disk_leaves_the_old_file(models, refused, tmp_path):
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)], capture_output=True
        ).returncode
    ):
        pytest.skip("only root can mount a small disk")
    try:
        output = tmp_path / "out.csv"
        output.write_text("old")
        many = ["--with-input", "--proba", "-o", output]
        message = refused("predict", models.churn, models.train_csv, *many, status=1)
        assert message == f"{output}: No space left on device"
        assert (os.listdir(tmp_path), output.read_text()) == (["out.csv"], "old")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_full_device(models, refused):
    message = refused("predict", models.churn, models.test_csv, "-o", "/dev/full", status=1)
    assert message == "/dev/full: No space left on device"


def test_output_keeps_links_and_permissions(models, run, tmp_path):
    place, link = tmp_path / "place.csv", tmp_path / "link.csv"
    place.write_text("old")
    place.chmod(0o640)
    link.symlink_to(place)
    assert run("predict", models.churn, models.test_csv, "-o", link).status == 0
    assert link.is_symlink()
    assert place.read_text().startswith("prediction\n")
    assert place.stat().st_mode & 0o777 == 0o640


def test_errors_write_nothing(models, refused, write, tmp_path, monkeypatch):
    """The last of many pieces is wrong."""
    monkeypatch.setattr(blocks, "BYTES_OF_BLOCK", 500)
    path = write(models.test[FEATURES].to_csv(index=False) + "abc,1,Bonn,True,2020-01-01\n")
    output = tmp_path / "out.csv"
    message = refused("predict", models.churn, path, "-o", output)
    assert message == f"{path}: line 62: column 'age': 'abc' is not a number"
    assert os.listdir(tmp_path) == ["new.csv"]
    output.write_text("old")
    refused("predict", models.churn, path, "-o", output)
    assert output.read_text() == "old"


def test_text_that_is_not_utf8(models, refused, write):
    """Even in a column that the model does not read."""
    table = models.test.assign(city="Bonn", note=["o"] * 40 + ["ö"] * 20)[["note", *FEATURES]]
    path = write(table.to_csv(index=False).encode("latin1"))
    shown = refused("predict", models.churn, path)
    assert shown.startswith(f"{path}: line 42: this text is not in UTF-8; if it is in Latin-1, con")


def test_options_that_a_model_does_not_have(models, refused, write, tmp_path):
    data = models.test_csv
    assert refused("predict", models.churn, data, "--interval").startswith("--interval: ")
    assert refused("predict", models.price, data, "--proba").startswith("--proba: ")
    assert "no column 'zz'" in refused("predict", models.churn, data, "--keep", "zz")
    path = write(models.test.assign(prediction=1).to_csv(index=False))
    assert "'prediction' cannot be copied" in refused("predict", models.churn, path, "--with-input")
    assert "between 0 and 1" in refused("predict", models.price, data, "--interval", "2")
    assert "not allowed with" in refused(
        "predict", models.churn, data, "--keep", "age", "--with-input"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    assert refused("predict", models.churn, data, "-o", folder) == f"{folder}: Is a directory"
    nowhere = tmp_path / "none" / "out.csv"
    assert "there is no folder" in refused("predict", models.churn, data, "-o", nowhere)
