"""Measure how many faults the tests find: `python scripts/mutants.py run -o FILE`.

A mutant is the package with one small fault. `benchmarks/mutants.json` holds a random sample of mutants, each
with a verdict: `found` with a test that fails, `timeout` (found, too), `survived` if all tests pass that run
the place, or `gone` if the code has no such place; `before` is the verdict at an earlier commit. A mutant is
known by its function and the text of its lines, so that it can be made again after code was moved. `run`
makes the mutants in the current folder: use a git worktree. One run of all tests tells which tests run which
place (`--map`); then it runs these for each mutant, first those of the module, then the fastest. `sample`
draws new mutants, with cosmic-ray.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parent.parent / "benchmarks" / "mutants.json"
PACKAGE = Path("digitcli")
MUTANTS, SEED = 100, 1
GROUPS = {  # each gives the same number of mutants
    "decision": "recognition/decision recognition/grouping recognition/pages/decision "
    "recognition/pages/groups recognition/pages/acceptance recognition/pages/splitting",
    "thresholds": "recognition/thresholds recognition/calibrate",
    "decoding": "inference/ctc recognition/hypotheses recognition/constraints",
    "statistics": "evaluation/statistics evaluation/calibration comparison/compare",
    "checkpoint": "inference/checkpoint atomic_write",
    "resume": "training/state training/run_folder recognition/resume",
}
MOST_TESTS = 500  # of a mutant; nearly all tests run some places
# A test hangs after 600 seconds; the slowest takes a minute on an idle machine.
PYTEST = "-n0 --tb=no -pno:cacheprovider -ofaulthandler_timeout=600 -ofaulthandler_exit_on_timeout=true"
HITS: set[tuple[int, str]] = set()  # noted by this process
Place = tuple[Path, str, int]  # file, function or class around the lines of a mutant, first line


def draw_sample(out: Path, _: Path) -> None:
    """Draw places uniformly from each group, and for each place one of its mutations."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    operators = {name: get_operator(name) for name in sorted(operator_names())}
    draw, rows = random.Random(SEED), list[dict[str, Any]]()
    for index, (group, modules) in enumerate(GROUPS.items(), 1):
        choices = defaultdict(list)
        for file in (PACKAGE / f"{name}.py" for name in modules.split()):
            nodes = list(ast_nodes(get_ast(file.read_text())))
            for name in (name for name, operator in operators.items() if not operator.arguments()):
                spans = (span for node in nodes for span in operators[name]().mutation_positions(node))
                for occurrence, span in enumerate(spans):
                    choices[file, span, name.split("_")[0]].append((name, occurrence))
        places = sorted(choices)
        draw.shuffle(places)
        while len(rows) < index * MUTANTS // len(GROUPS):
            place = places.pop()
            (name, occurrence), source = draw.choice(choices[place]), place[0].read_text()
            mutated = mutate_code(source, operators[name](), occurrence)
            with contextlib.suppress(SyntaxError):
                if meaning(mutated) != meaning(source):
                    row = {"number": len(rows) + 1, "group": group, "operator": name, "verdict": "open"}
                    rows.append(row | describe(place[0], mutated))
    save(out, rows)


def meaning(source: str) -> str:
    """Return a module without its layout and without the types."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for name in {"annotation", "returns"} & set(node._fields):
            setattr(node, name, None)
    return ast.dump(tree)


def describe(file: Path, mutated: str) -> dict[str, Any]:
    """Return what finds a mutant again: its function, and its lines before and after the mutation."""
    before, after = file.read_text().splitlines(), mutated.splitlines()
    first = next(index for index, line in enumerate(before) if line and line != after[index])
    rest = next(index for index in range(len(before)) if before[-1 - index] != after[-1 - index])
    original, changed = before[first : len(before) - rest], after[first : len(after) - rest]
    indent = len(original[0]) - len(original[0].lstrip())
    places = [each for each in places_of(original) if each[0] == file]
    owner = next(owner for _, owner, line in places if line == first + 1)
    return {
        "file": str(file),
        "function": owner,
        "occurrence": [each[2] for each in places if each[1] == owner].index(first + 1),
        "original": [line[indent:] for line in original],
        "mutated": [line[indent:] for line in changed],
    }


def places_of(block: list[str]) -> list[Place]:
    """Return the places in the package that hold these lines, however indented."""
    wanted, found = [line.strip() for line in block], []
    for file in sorted(PACKAGE.rglob("*.py")):
        lines = [line.strip() for line in file.read_text().splitlines()]
        for line in (number for number, text in enumerate(lines, 1) if text == wanted[0]):
            if lines[line - 1 : line - 1 + len(wanted)] == wanted:
                names = [node.name for node in statements_at(file, line) if hasattr(node, "name")]
                found.append((file, ".".join(names), line))
    return found


def statements_at(file: Path, line: int) -> list[Any]:
    """Return the statements around a line, the innermost last."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.stmt)]
    return [node for node in nodes if start_of(node) <= line <= (node.end_lineno or 0)]


def start_of(node: Any) -> int:
    """Return the first line of a statement, which may be that of a decorator."""
    return min(each.lineno for each in (node, *getattr(node, "decorator_list", ())))


def find(row: dict[str, Any]) -> Place | None:
    """Find a mutant in its function, else in one of that name, else in the only place with its lines."""
    places, name = places_of(row["original"]), row["function"]
    own = [each for each in places if each[1] == name]
    if own := [each for each in own if each[0] == Path(row["file"])] or own:
        return own[min(row["occurrence"], len(own) - 1)]
    alike = [each for each in places if each[1].split(".")[-1] == name.split(".")[-1]]
    return next((each[0] for each in (alike, places) if len(each) == 1), None)


def probes(file: Path, line: int) -> Iterator[tuple[Path, Any]]:
    """Yield the statement of a place, or where that runs at import, one in each function that uses it."""
    around, lines = statements_at(file, line), file.read_text().splitlines()
    owners = [node for node in around if hasattr(node, "name")]
    if inside := [node for node in owners if hasattr(node, "args") and line >= node.body[0].lineno]:
        nodes = around[around.index(inside[-1]) + 1 :]
        yield file, [node for node in nodes if not lines[node.lineno - 1].strip().startswith("elif ")][-1]
        return
    name = owners[-1].name if owners else re.split(r"\W", lines[around[-1].lineno - 1])[0]
    for file in PACKAGE.rglob("*.py"):
        for node in filter(lambda node: hasattr(node, "returns"), ast.walk(ast.parse(file.read_text()))):
            if name in {getattr(each, "id", getattr(each, "attr", "")) for each in ast.walk(node)}:
                yield file, node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]


def hit(number: int) -> None:
    """Note that the test that runs now executes the place of a mutant; called by the probes."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    if (number, test) not in HITS:
        HITS.add((number, test))
        with contextlib.suppress(OSError, KeyError):  # a small file for each, since a test fills the disk
            Path(os.environ["MUTANT_HITS"], f"{number}-{os.getpid()}-{len(HITS)}").write_text(test)


def make_map(places: dict[int, Place], out: Path) -> None:
    """Run all tests with probes in the code, and save for each mutant those that execute its place."""
    marks: dict[Path, list[tuple[int, str]]] = defaultdict(list)
    for number, (place, _, first) in places.items():
        for file, node in probes(place, first):
            probe = f"{' ' * node.col_offset}__import__('mutants').hit({number})"
            marks[file].append((start_of(node), probe))
    for file, probed in marks.items():
        lines = file.read_text().splitlines()
        for line, probe in sorted(probed, reverse=True):
            lines.insert(line - 1, probe)
        file.write_text("\n".join(lines) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        shown = pytest("-vv", "--durations=0", MUTANT_HITS=folder)[1]
        hits = [(path.name.split("-")[0], path.read_text()) for path in Path(folder).iterdir()]
    seconds: dict[str, float] = defaultdict(float)
    for took, test in re.findall(r"^([\d.]+)s (?:call|setup|teardown) +(tests/.*)$", shown, re.M):
        seconds[test] += float(took)
    for test in re.findall(r"^(tests/.*?) (?:FAILED|ERROR) ", shown, re.M):  # not because of a mutant
        seconds.pop(test, None)
    tests: dict[str, set[str]] = defaultdict(set)
    for mutant, test in hits:  # what one test sets up, others in its folder may share
        start = test.rpartition("/")[0] if test.endswith(" (setup)") else test.rpartition(" ")[0]
        tests[mutant] |= {name for name in seconds if name == start or name.startswith(f"{start}/")}
    out.write_text(json.dumps({key: sorted(each, key=seconds.__getitem__) for key, each in tests.items()}))


def pytest(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run pytest in a process of its own, and undo all changes; return the exit code and the output."""
    variables |= {"PYTHONPATH": f"{Path.cwd()}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-B", "-m", "pytest", *PYTEST.split(), *arguments]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            done = subprocess.run(command, env=os.environ | variables, stdout=output, stderr=output)
        finally:
            subprocess.run(["git", "checkout", "-q", "--", str(PACKAGE)], check=True)
        output.seek(0)
        return done.returncode, output.read()


def first_failure(tests: list[str]) -> str | None:
    """Return the first test that fails, or a word if one hangs or if the package cannot be imported."""
    code, shown = pytest("-v", "-x", *tests) if tests else (0, "")
    missing = re.findall(r"^ERROR: not found: \S*?(tests/.*)$", shown, re.M)
    if code == 4 and missing:  # the mutant changes the parameters of these tests
        return first_failure([test for test in tests if test not in missing])
    if (failed := re.search(r"^(tests/.*?) (?:FAILED|ERROR) ", shown, re.M)) or code in (0, 5):
        return failed and failed[1]
    return "timeout" if "Timeout (" in shown else "import"


def run(out: Path, map_file: Path) -> None:
    """Run the mutants that have no verdict yet, and print the number of each verdict in each group."""
    subprocess.run(["git", "diff", "--exit-code", "--", str(PACKAGE)], check=True)  # or changes are lost
    rows = json.loads((out if out.exists() else SAMPLE).read_text())["mutants"]
    rows = rows if out.exists() else [{**row, "verdict": "open"} for row in rows]
    places = {row["number"]: place for row in rows if (place := find(row))}
    if not map_file.exists():
        make_map(places, map_file)
    tests = json.loads(map_file.read_text())
    for row in (row for row in rows if row["verdict"] == "open"):
        row |= {"verdict": "gone", "test": None, "place": None}
        if place := places.get(row["number"]):
            file, first, own = place[0], place[2] - 1, f"/test_{place[0].name}"
            lines = file.read_text().splitlines()
            indent = " " * (len(lines[first]) - len(lines[first].lstrip()))
            lines[first : first + len(row["original"])] = [indent + line for line in row["mutated"]]
            file.write_text("\n".join(lines) + "\n")
            chosen = sorted(tests.get(str(row["number"]), []), key=lambda test: own not in test)
            failed = first_failure(chosen[:MOST_TESTS])
            verdict = "timeout" if failed == "timeout" else "found" if failed else "survived"
            row |= {"verdict": verdict, "test": failed, "place": f"{file}:{first + 1}"}
        print(row["number"], row["verdict"], row["function"], row["test"], flush=True)
        save(out, rows)
    print(*Counter((row["group"], row["verdict"]) for row in rows).items(), sep="\n")


def save(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the mutants, with the commit to which the verdicts apply."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    out.write_text(json.dumps({"seed": SEED, "commit": commit, "mutants": rows}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("sample", "run"))
    parser.add_argument("-o", "--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--map", type=Path, default=Path("map.json"), help="the tests that run each place")
    arguments = parser.parse_args()
    {"sample": draw_sample, "run": run}[arguments.command](arguments.out, arguments.map)
