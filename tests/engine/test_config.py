"""What `show_config` shows of the machine and of the build."""

import re

import fastmlp
from fastmlp import _core


def test_show_config(capsys):
    fastmlp.show_config()
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["fastmlp"] == fastmlp.__version__
    assert int(shown["threads"]) >= 1
    assert shown["kernels"].split()[0] == _core.kernels_in_use()
    assert re.match(r"(GCC|(\w+ )*Clang|Apple LLVM|MSVC) \d", shown["compiler"])
    assert "BLAS" in shown
    assert shown["BLAS"]
