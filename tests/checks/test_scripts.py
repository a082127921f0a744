"""The scripts that check the repository find what they are for."""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path

import pytest

import check_model
import check_prose
import check_sizes
import check_types
import oldest_versions

ROOT = Path(__file__).parents[2]


def test_no_file_is_too_large() -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in check_sizes.tracked()}
    assert check_sizes.problems(sizes) == []


@pytest.mark.parametrize(
    ("name", "size", "refused"),
    [
        ("train/model.pt", 500_001, True),
        ("train/model.pt", 500_000, False),
        ("tests/data/golden/new.npz", 1_500_000, False),
        ("tests/data/golden/new.npz", 2_500_000, True),
        ("tests/data/golden.npz", 600_000, True),
        ("fcs_edge/data/edge-65k.safetensors", 7_969_800, False),
        ("fcs_edge/data/other.safetensors", 7_969_800, True),
        ("train/weights/edge.safetensors", 21_000_000, False),
        ("train/weights/edge.safetensors", 23_000_000, True),
    ],
)
def test_large_files_are_refused(name: str, size: int, refused: bool) -> None:
    assert bool(check_sizes.problems({name: size})) == refused


def test_a_second_state_to_train_from_is_refused() -> None:
    sizes = {"train/weights/a.safetensors": 21_000_000, "train/weights/b.safetensors": 600_000}
    (line,) = check_sizes.problems(sizes)
    assert "one large file, not 2" in line


def test_the_model_that_ships() -> None:
    assert check_model.problem(check_model.FOLDER) is None


def test_another_model_is_refused(tmp_path: Path) -> None:
    assert "holds no model" in str(check_model.problem(tmp_path))
    path = tmp_path / check_model.NAME
    shutil.copy(check_model.FOLDER / check_model.NAME, path)
    assert check_model.problem(tmp_path) is None
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-1])
    assert "bytes" in str(check_model.problem(tmp_path))
    data[-1] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in str(check_model.problem(tmp_path))
    path.rename(tmp_path / "other.safetensors")
    assert "other.safetensors" in str(check_model.problem(tmp_path))


PAGE = """\
# A heading of any number of words, which is not counted at all

One two three. Four `five six` [seven eight](nine/ten.md) e.g. **eleven** 0.80 kbps!
Twelve
thirteen.

| a | table |
|---|---|

- An item
  that goes on. And another.
- An item

```sh
fcs-edge encode speech.wav
```

    indented code

![a picture](of.png)
"""


def test_sentences_of_a_page() -> None:
    found = [
        s for paragraph in check_prose.paragraphs(PAGE) for s in check_prose.sentences(paragraph)
    ]
    assert found == [
        "One two three.",
        "Four Code seven eight eg eleven 0.80 kbps!",
        "Twelve thirteen.",
        "An item that goes on.",
        "And another.",
        "An item",
    ]
    assert [check_prose.count(sentence) for sentence in found] == [3, 8, 2, 5, 2, 2]


def test_long_pages_and_stale_words_are_found() -> None:
    _, found = check_prose.check_page("docs/howto/a.md", "word " * 400)
    assert found == ["400 words, over 320"]
    _, found = check_prose.check_page("docs/page.md", "Than the weights\nbefore.\n")
    assert found == []
    _, found = check_prose.check_page("docs/page.md", "Than\nthe weights before.\n")
    assert found == ["line 2 says `weights before`"]
    _, found = check_prose.check_page("train/experiments/0001-a.md", "a\n" * 61)
    assert found == ["61 lines, over 60"]


def test_a_long_sentence_fails(capsys: pytest.CaptureFixture[str]) -> None:
    short, long = "word " * 24 + "end.", "word " * 25 + "end."
    assert check_prose.report("page", ["A b.", "A b.", short], [], False)
    assert not check_prose.report("page", ["A b.", "A b.", long], [], False)
    assert "1 of 3 sentences are over 25 words" in capsys.readouterr().out
    assert not check_prose.report("page", ["word " * 19, "word " * 19, "A b."], [], False)


def test_messages_and_help_texts_are_read() -> None:
    program = '''
@click.command()
@click.option("--all", help="Help of an option.")
def show(every):
    """Help of a command.

    \\b
    Examples:
      fcs-edge show
    """
    messages.warn(f"{a} warning " "in two parts")
    raise AudioError("no such " + f"file: {path}")
'''
    found = {text for _, text in check_prose.texts(ast.parse(program), True)}
    expected = {"Help of an option.", "Help of a command.", "Field warning in two parts"}
    assert found == expected | {"no such file: Field"}


def test_types_are_checked_in_a_tree_of_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_types, "TREE", tmp_path / "tree")
    check_types.make_tree()
    folders = os.walk(tmp_path / "tree", followlinks=True)
    paths = [Path(folder, name) for folder, _, names in folders for name in names]
    laid_out = {path.resolve() for path in paths if path.suffix == ".py"}
    assert laid_out == {path for path in check_types.files_in_git() if "scripts" not in path.parts}


def test_oldest_versions_are_those_of_the_project() -> None:
    floors = oldest_versions.floors(["dependencies", "test", "cluster", "dev"])
    project = (ROOT / "pyproject.toml").read_text()
    for package, version in floors.items():
        assert re.search(rf'"{package}>={re.escape(version)}"', project)
    assert {"numpy", "numba", "click", "pytest", "pyarrow", "distributed", "mypy"} <= set(floors)
    assert oldest_versions.floors(["cluster"]) == {"pyarrow": "15", "distributed": "2024.1"}


def test_listed_kernels_have_the_arguments_that_libraries_are_built_with() -> None:
    """A wheel builds some of them; only the checks on emulated cores build the others."""
    tree = ast.parse((ROOT / "scripts" / "compile_kernels.py").read_text())
    listed: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("SIGNATURES"):
            listed |= ast.literal_eval(node.value)
    assert listed
    for name, types_ in listed.items():
        module, _, function = name.rpartition(".")
        path = ROOT / "kernels" / f"{module.replace('.', '/')}.py"
        found = [
            node
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name == function
        ]
        assert found, f"{path} has no {function}"
        arguments = types_.partition(" -> ")[0].split()
        assert len(found[0].args.args) == len(arguments), name


class _Percent(dict[str, object]):
    """Any name that a help text may ask for."""

    def __missing__(self, key: str) -> str:
        return key


def _argparse_texts(tree: ast.Module) -> list[str]:
    """Return what argparse formats with %: the usage, and the help of each option."""
    document = ast.get_docstring(tree) or ""
    found = []
    for node in ast.walk(tree):
        for keyword in node.keywords if isinstance(node, ast.Call) else []:
            if keyword.arg == "help" and isinstance(keyword.value, ast.Constant):
                found.append(keyword.value.value)
            elif keyword.arg == "usage":
                found.append(eval(ast.unparse(keyword.value), {"__doc__": document}))
    return found


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_argparse_can_print_the_help_of_a_script(name: str) -> None:
    for text in _argparse_texts(ast.parse((ROOT / "scripts" / name).read_text())):
        assert text % _Percent(prog=name)
