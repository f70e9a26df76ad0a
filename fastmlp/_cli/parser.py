"""The parser of the command line: the commands, their options and their help."""

import argparse
import math

from fastmlp import __version__
from fastmlp._cli.errors import BAD_INPUT
from fastmlp._cli.formats import INPUT_FORMATS, OUTPUT_FORMATS

# What the completion of a shell offers: as in shtab, which need not be there.
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}

DESCRIPTION = "Fast multilayer perceptrons on a CPU, for tables in files."

EXAMPLES = """examples:
  fastmlp train data.csv --target churn --model churn.safetensors
  fastmlp evaluate churn.safetensors test.csv
  fastmlp predict churn.safetensors new.csv -o predictions.csv
  fastmlp show churn.safetensors

Each command has more help: fastmlp train --help

exit status: 0 success; 1 failure, such as a full disk; 2 wrong usage or input; 130 Ctrl-C"""

EXAMPLES_OF_TRAIN = """examples:
  fastmlp train data.csv --target churn --model churn.safetensors
  fastmlp train houses.parquet --target price --model price.safetensors --seconds 60
  fastmlp train data.csv --target churn --model churn.safetensors --exclude id,name \\
      --categorical shop --validation later.csv --metric roc_auc
  fastmlp train semicolons.csv --decimal , --target y --model y.safetensors

Ctrl-C ends the training and keeps the best model so far; a second one gives up."""

EXAMPLES_OF_PREDICT = """examples:
  fastmlp predict churn.safetensors new.csv -o predictions.csv
  fastmlp predict churn.safetensors new.csv --proba --keep customer | sort -t, -k3
  fastmlp predict price.safetensors houses.parquet --interval 0.8 -o prices.parquet
  producer | fastmlp predict churn.safetensors - --json | consumer

The output has one row for each row of the input, in its order. Its columns are those of --keep or
--with-input, then 'prediction', 'probability of CLASS' for each class (--proba), and 'lower' and
'upper' (--interval). From a pipe, rows are answered as they come in. A CSV output has the separator
and the decimal mark of a CSV input. A file is complete or not written at all."""

EXAMPLES_OF_EVALUATE = """examples:
  fastmlp evaluate churn.safetensors test.csv --target churn
  fastmlp evaluate churn.safetensors test.csv --plot churn.png
  fastmlp evaluate price.safetensors test.parquet --json"""

EXAMPLES_OF_EXPORT = """examples:
  fastmlp export churn.safetensors --onnx churn.onnx
  fastmlp export network.safetensors --c network.c

C sources can be had of networks on numbers (MLPClassifier, MLPRegressor, Network)."""

EXAMPLES_OF_COMPLETION = """examples:
  eval "$(fastmlp completion bash)"                            # in ~/.bashrc
  fastmlp completion zsh > /usr/local/share/zsh/site-functions/_fastmlp
  fastmlp completion tcsh > ~/.fastmlp.csh; source ~/.fastmlp.csh"""

MISSING = """missing values:
  nothing between two separators, "", NA, N/A, n/a, #N/A, <NA>, NaN, nan, NAN, null, Null, NULL"""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        message = " ".join(message.split())
        self.exit(BAD_INPUT, f"fastmlp: error: {message}; see {self.prog} --help\n")


def command_parser():
    """Return the parser of all commands."""
    parser = OneLineParser(
        prog="fastmlp",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastmlp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for add in (
        add_train, add_predict, add_evaluate, add_show, add_export, add_benchmark, add_completion,
        add_demo, add_config,
    ):  # fmt: skip
        add(commands)
    return parser


def add_command(commands, name, what, epilog=None):
    """Return the parser of a new command."""
    return commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_file(parser, *names, **settings):
    """Add an argument that is a file."""
    parser.add_argument(*names, **settings).complete = FILES


def add_reading(parser):
    """Add the options of reading a table."""
    group = parser.add_argument_group("reading tables")
    group.add_argument(
        "--format",
        choices=INPUT_FORMATS,
        help="format of the tables; by default that of the extension (.csv, .parquet, .pq, "
        ".arrow, .feather, .ipc), and csv for any other",
    )
    group.add_argument(
        "--separator",
        type=separator,
        metavar="CHARACTER",
        help="between the values of a CSV file: one character or 'tab'; by default the most "
        "frequent one of , ; tab and | in the first line",
    )
    group.add_argument(
        "--decimal",
        choices=[".", ","],
        default=".",
        metavar="MARK",
        help="decimal mark of a CSV file: . (default) or ,",
    )


def add_json(parser, what="print the result as JSON"):
    parser.add_argument("--json", action="store_true", help=what)


def add_quiet(parser):
    parser.add_argument(
        "--quiet", action="store_true", help="show neither the progress nor remarks"
    )


def add_train(commands):
    """Add `fastmlp train`."""
    parser = add_command(
        commands,
        "train",
        "train a model on a table in a file",
        f"{EXAMPLES_OF_TRAIN}\n\n{MISSING}",
    )
    add_file(parser, "data", metavar="DATA", help="table to train on, '-' for standard input")
    parser.add_argument(
        "--target", required=True, metavar="COLUMN", help="the column to be predicted"
    )
    add_file(parser, "--model", required=True, metavar="FILE", help="the model file to write")
    parser.add_argument(
        "--task",
        choices=["auto", "classification", "regression"],
        default="auto",
        help="auto (the default): classification if the target holds strings, truth values or at "
        "most 20 different whole numbers",
    )
    parser.add_argument(
        "--members", type=positive_whole, metavar="N", help="networks to train (default: 24 or 32)"
    )
    parser.add_argument(
        "--seconds", type=positive, metavar="S", help="limit of the time for training"
    )
    add_file(
        parser,
        "--validation",
        metavar="FILE",
        help="table for early stopping, selection and calibration; by default parts of DATA",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="what the selection of networks maximizes: a scorer of scikit-learn, such as roc_auc",
    )
    parser.add_argument(
        "--exclude", type=columns, default=[], metavar="COL,COL", help="columns not to learn from"
    )
    parser.add_argument(
        "--sample-weight", metavar="COLUMN", help="column with the weights of the rows"
    )
    parser.add_argument(
        "--categorical",
        type=columns,
        default=[],
        metavar="COL,COL",
        help="columns of numbers that are codes of categories",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="networks trained at a time (default: the CPUs)"
    )
    parser.add_argument(
        "--refit-single",
        action="store_true",
        help="let one network learn what the ensemble predicts: faster predictions, a bit worse",
    )
    add_quiet(parser)
    add_json(parser, "print the summary as JSON")
    add_reading(parser)


def add_predict(commands):
    """Add `fastmlp predict`."""
    parser = add_command(
        commands, "predict", "predict the rows of a table", f"{EXAMPLES_OF_PREDICT}\n\n{MISSING}"
    )
    add_file(parser, "model", metavar="MODEL", help="the model file")
    add_file(parser, "data", metavar="DATA", help="table of new rows, '-' for standard input")
    add_file(parser, "-o", "--output", default="-", metavar="FILE", help="default: standard output")
    parser.add_argument("--proba", action="store_true", help="add the probability of each class")
    parser.add_argument(
        "--interval",
        nargs="?",
        const=0.9,
        type=share,
        metavar="COVERAGE",
        help="add an interval that contains the target with this probability (default: 0.9)",
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument(
        "--keep", type=columns, default=[], metavar="COL,COL", help="copy these input columns"
    )
    kept.add_argument("--with-input", action="store_true", help="copy all input columns")
    parser.add_argument(
        "--output-format",
        choices=OUTPUT_FORMATS,
        help="by default that of the extension of FILE, and csv for any other",
    )
    add_quiet(parser)
    add_json(parser, "write one JSON object for each row: --output-format jsonl")
    add_reading(parser)


def add_evaluate(commands):
    """Add `fastmlp evaluate`."""
    parser = add_command(
        commands,
        "evaluate",
        "compare predictions with the target of a table",
        f"{EXAMPLES_OF_EVALUATE}\n\n{MISSING}",
    )
    add_file(parser, "model", metavar="MODEL", help="the model file")
    add_file(parser, "data", metavar="DATA", help="table with the target, '-' for standard input")
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        help="the column with the true values; by default that of the training, or else the only "
        "one that the model does not read",
    )
    add_file(
        parser, "--plot", metavar="FILE", help="draw calibration and errors (.png, .pdf, .svg)"
    )
    add_quiet(parser)
    add_json(parser)
    add_reading(parser)


def add_show(commands):
    """Add `fastmlp show`."""
    parser = add_command(commands, "show", "show what a model file holds")
    add_file(parser, "model", metavar="MODEL", help="the model file")
    add_json(parser)


def add_export(commands):
    """Add `fastmlp export`."""
    parser = add_command(commands, "export", "write a model as ONNX or as C", EXAMPLES_OF_EXPORT)
    add_file(parser, "model", metavar="MODEL", help="the model file")
    add_file(parser, "--onnx", metavar="FILE", help="write an ONNX graph")
    add_file(parser, "--c", metavar="FILE", help="write C source")
    add_json(parser, "print what has been written as JSON")


def add_benchmark(commands):
    """Add `fastmlp benchmark`."""
    parser = add_command(
        commands,
        "benchmark",
        "time fastmlp beside scikit-learn's models on this machine, on a small table",
    )
    parser.add_argument(
        "--rows", type=positive_whole, default=2000, metavar="N", help="rows (default: 2000)"
    )
    add_json(parser)


def add_completion(commands):
    """Add `fastmlp completion`."""
    parser = add_command(
        commands,
        "completion",
        "print a script with which a shell completes commands and options",
        EXAMPLES_OF_COMPLETION,
    )
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"])


def add_demo(commands):
    """Add `fastmlp demo`."""
    parser = add_command(
        commands,
        "demo",
        "train on handwritten digits and compare the training time with scikit-learn's",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="train on a table with categories and missing values beside "
        "HistGradientBoostingClassifier",
    )


def add_config(commands):
    """Add `fastmlp config`."""
    add_command(commands, "config", "print how this fastmlp was built")


def columns(text):
    """Return the names of a list with commas."""
    return list(dict.fromkeys(name for name in text.split(",") if name))


def separator(text):
    """Return the one character that separates values."""
    if text in ("tab", "\\t"):
        return "\t"
    if len(text) != 1 or not text.isascii() or text in '"\r\n':
        raise argparse.ArgumentTypeError(f"must be one ASCII character or 'tab', got {text!r}")
    return text


def number_of(text, kind):
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}") from None


def positive_whole(text):
    """Return a whole number from 1 on."""
    number = number_of(text, int)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def positive(text):
    """Return a number above 0."""
    number = number_of(text, float)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


def share(text):
    """Return a number between 0 and 1."""
    number = number_of(text, float)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return number
