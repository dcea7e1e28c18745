"""The layout: which modules may import which, what loads torch, and how long files and functions may be."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

from digitcli.cli import COMMANDS
from tests.support.processes import modules_loaded_by

PACKAGE = Path(__file__).parent.parent / "digitcli"

# A part imports from itself and from the layers below its own; parts of one layer do not import each other.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"console"},
    {"reporting"},
    {"diagnosis"},
    {"export"},
    {"compression"},
    {"comparison"},
    {"adaptation", "benchmarking", "bulk", "tables"},
    {"training"},
    {"recognition"},
    {"evaluation", "interpretation"},
    {"synthesis"},
    {"inference"},
    {"data"},
    {"architectures"},
    {"imaging"},
    {"settings", "events", "atomic_write", "json_records", "charts", "templating"},
    {"page_format", "strip_format", "gap_format", "threads"},
    {"errors"},
]
HEIGHT = {part: -layer for layer, parts in enumerate(LAYERS) for part in parts}
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCES
}
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 500, 60
VAGUE_NAMES = {"utils", "helpers", "common", "core", "base", "manager", "misc"}


@functools.cache
def imported_modules(path: Path, for_types: bool = True) -> set[str]:
    """Return our modules that a file imports, also inside functions and for annotations alone."""
    names: list[str] = []
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and not for_types and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & MODULES.keys()


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def test_imports_point_down() -> None:
    """Each part imports from lower layers only, and no files import each other in a circle."""
    wrong = [
        f"{module} imports {imported}"
        for module, path in MODULES.items()
        for imported in imported_modules(path)
        if (part := part_of(module)) != (other := part_of(imported)) and "__init__" not in (part, other)
        if HEIGHT[other] >= HEIGHT[part]
    ]
    assert not wrong
    graph = {module: imported_modules(path, for_types=False) - {module} for module, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the cycle


def test_files_are_subjects_of_a_readable_size() -> None:
    """No file or function is long, no name is vague or stands twice."""
    texts = {path: path.read_text() for path in SOURCES}
    stems = Counter(path.stem for path in SOURCES if path.parent.name != "cli" and path.stem != "__init__")
    lengths = {path: len(text.splitlines()) for path, text in texts.items()}
    functions = [
        (str(path), node.name)
        for path, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LINES_OF_A_FUNCTION
    ]
    problems = {
        "long files": [path for path, length in lengths.items() if length > LINES_OF_A_FILE],
        "long functions": functions,
        "vague names": VAGUE_NAMES & stems.keys(),
        "names that stand twice": [stem for stem, times in stems.items() if times > 1],
        "a median far from 150 to 250 lines": [
            median for median in [statistics.median(lengths.values())] if not 150 <= median <= 250
        ],
    }
    assert not {name: found for name, found in problems.items() if found}


def test_no_module_imports_tensorflow() -> None:
    """The code for TensorFlow is in examples/, and in a program that runs in a process of its own."""
    program = "digitcli.export.tensorflow_program"
    assert not any(program in imported_modules(path) for path in SOURCES)
    named = {
        path for path in SOURCES if {"tensorflow", "keras"} & set(re.findall("[a-z]+", path.read_text()))
    }
    for path in named - {MODULES[program]}:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"tensorflow", "keras"}, path


WITHOUT_TORCH = [
    "import digitcli",
    "import digitcli.training.configuration, digitcli.imaging, digitcli.reporting.report",
    "import digitcli.evaluation.evaluate, digitcli.recognition.reader",
    "import digitcli.architectures.registry as r; r.architectures()",
    "import digitcli.inference.model_resolution as m; m.resolve_models(m.shipped_models())",
    "import digitcli.data.loading as s; s.load_dataset('mnist')",
    "import digitcli.inference.predictor as i; i.load_classifier('cnn', device='cpu')",
    "import digitcli.inference.predictor as i; i.load_line_recognizer('reader', device='cpu')",
]


def test_the_library_loads_torch_only_when_needed() -> None:
    lines = [
        f"{line}\nassert not {{'torch', 'torchvision'}} & sys.modules.keys(), {line!r}"
        for line in WITHOUT_TORCH
    ]
    modules_loaded_by("\n".join(lines))


def test_modules_that_say_so_load_no_torch() -> None:
    docstrings = {module: ast.get_docstring(ast.parse(path.read_text())) for module, path in MODULES.items()}
    named = [module for module, text in docstrings.items() if text and "loads no torch" in text.lower()]
    assert "digitcli.diagnosis.findings" in named
    assert not {"torch", "torchvision"} & modules_loaded_by(f"import {', '.join(named)}")


ARGUMENTS_WITHOUT_TORCH = """
--version
train --from cmm
train --from cnn --arch fast
compare cmm
compare cnn:epochs=none
compare shipped/none
models nothing-like-it
train --arch nothing-like-it
train --data nothing-like-it
train --device abacus
train --lr -1
train --time soon
train --optimizer luck
train --arch softmax --dropout 0.5
train --out a --resume b
train --print-config
train --teacher nothing-like-it
train --teacher reader
train --members 1
predict
predict x.png --model nothing-like-it
predict x.png --device abacus
predict x.png --min-confidence 2
predict x.png -o out.txt
predict x.png -o nowhere/out.csv
predict x.png --force
predict --files-from nothing-like-it
evaluate nothing-like-it
evaluate --data nothing-like-it
evaluate --split half
evaluate --device abacus
evaluate --mistakes -1
evaluate cnn fast --select 3
evaluate cnn fast --select 1 --out model.txt
evaluate --min-accuracy 99
evaluate --save result.txt
evaluate --save none/such.json
calibrate nothing-like-it
calibrate . --confidence 1
calibrate . --max-error 0
calibrate . -m nothing-like-it
calibrate . -o model.onnx
adapt nothing-like-it
adapt . -o x -m nothing-like-it
adapt . -o x --device abacus
adapt . -o x --epochs 0
adapt .
benchmark --arch nothing-like-it
benchmark --device abacus
benchmark --batch-size 1,,2
benchmark --runtime tvm
report nothing-like-it
report x.json -o x.pdf
export nothing-like-it
export fast --to tflight
export fast --dtype int8
export fast -o fast.pt
compress fast
compress nothing-like-it --steps int8
compress fast --steps int8,int8
synthesize --out a --count 0
"""
# Run all arguments in one process; print the first that load torch, and those with unknown options.
RUN_ALL = """
import contextlib, io, json, sys
from digitcli.cli import exit_code_of_run

problems = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        exit_code_of_run()
    if {"torch", "torchvision"} & sys.modules.keys():
        problems.append([arguments, "torch is loaded"])
        break
    if "has no option" in errors.getvalue():
        problems.append([arguments, errors.getvalue()])
print(json.dumps(problems))
"""


def test_help_and_mistakes_load_no_torch() -> None:
    arguments = [[name, "--help"] for name in COMMANDS]
    arguments += [line.split() for line in ARGUMENTS_WITHOUT_TORCH.splitlines()]
    command = [sys.executable, "-c", RUN_ALL, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def modules_loaded_by_command(*arguments: str) -> set[str]:
    """The names of all modules that the program has loaded after a command."""
    run = "from digitcli.cli import exit_code_of_run; assert exit_code_of_run() == 0; print()"
    return modules_loaded_by(f"sys.argv[1:] = {arguments!r}\n{run}")


def test_commands_load_only_the_packages_that_they_need() -> None:
    read = ("predict", str(PACKAGE.parent / "image.png"), "--device", "cpu")
    for arguments, needed, needless in [
        (["train", "--help"], {"rich"}, {"numpy", "cv2", "PIL"}),
        (read, {"onnxruntime", "cv2"}, {"torch", "onnx", "digitcli.cli.train", "regex", "scipy", "skimage"}),
        ([*read, "-m", "cnn", "--format", "jsonl"], {"onnxruntime"}, {"torch", "captum", "matplotlib"}),
        (["evaluate", "cnn", "--split", "validation", "--format", "json"], {"onnxruntime"}, {"torch", "cv2"}),
        ([*read, "--runtime", "torch"], {"torch"}, {"onnxruntime", "torchvision"}),
    ]:
        loaded = modules_loaded_by_command(*arguments)
        assert needed <= loaded and not needless & loaded, arguments
