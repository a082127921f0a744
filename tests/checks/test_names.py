"""Names use the field's words: none has a word of the table in scripts/check_names.py."""

from __future__ import annotations

import pytest

import check_names

PATHS = check_names.tracked()


def area(path: str) -> str:
    folder, slash, _ = path.partition("/")
    return folder if slash else "top"


@pytest.mark.parametrize("folder", sorted({area(path) for path in PATHS}))
def test_names(folder: str) -> None:
    found = check_names.find([path for path in PATHS if area(path) == folder])
    assert not found, "\n".join(finding.line_of_text() for finding in found)


@pytest.mark.parametrize(
    "program",
    [
        "def told(): ...",
        "async def was_told(): ...",
        "class ToldMel: ...",
        "def f(told_mel): ...",
        "def f(*told): ...",
        "def f(*, TOLD=1): ...",
        "lambda told: 1",
        "told = 1",
        "told: int",
        "x.told_mel = 1",
        "for told in x: ...",
        "[0 for told in x]",
        "if (told := 1): ...",
        "with x as told: ...",
        "import x as told",
        "try: ...\nexcept ValueError as told: ...",
        "match x:\n    case [1, *told]: ...",
        "match x:\n    case told: ...",
        "click.option('--told-mel')",
        "X = NamedTuple('X', [('told', int)])",
        "class C:\n    told: int = 0",
    ],
)
def test_every_kind_of_name_is_read(program: str) -> None:
    found = check_names.check("x.py", program)
    assert [(finding.word, finding.instead) for finding in found] == [("told", "predicted")]


def test_what_is_no_name_is_left_alone() -> None:
    program = '"""told"""\nclick.echo(x.told)\n# told\nuntold = "told"\nretold(told)\n'
    assert check_names.check("x.py", program) == []


def test_file_names_and_toml_keys() -> None:
    assert [f.name for f in check_names.check("train/told.toml", "")] == ["train/told.toml"]
    toml = '[losses.heard]\ntold_mel = 1 # told\nname = "told"\n[kept]\n'
    assert [f.line for f in check_names.check("x.toml", toml)] == [1, 2, 4]


def test_a_word_of_class_names_only() -> None:
    assert check_names.check("x.py", "class RepeatedState: ...")
    assert not check_names.check("x.py", "repeated_state = 1")


def test_exceptions_name_what_there_is_and_say_why() -> None:
    for exception, reason in check_names.EXCEPTIONS.items():
        path, _, name = exception.partition(":")
        text = (check_names.ROOT / path).read_text()
        assert name in text
        assert len(reason.split()) > 2
