"""The list of mutations does not rot: each finds its text and its tests."""

from pathlib import Path

import pytest
from mutate import MUTATIONS, PACKAGE, ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_finds_its_text_and_its_tests(mutation):
    source = (ROOT / PACKAGE / mutation.file).read_text(encoding="utf-8")
    assert source.count(mutation.text) == 1
    assert mutation.other != mutation.text
    assert mutation.tests
    for test in mutation.tests.split():
        name, _, function = test.partition("[")[0].partition("::")
        tests = Path(__file__).parent.joinpath(name).read_text(encoding="utf-8")
        assert f"def {function}(" in tests or not function


def test_names_of_mutations_differ():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
