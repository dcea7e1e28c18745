"""Show that the quality gate finds planted faults: `python benchmarks/planted_faults.py`.

Each fault is planted in a copy of the package, whose reader then reads the pictures of `tests/quality`. The
last column names the limits of `tests/test_quality.py` that are broken. Exit code 8 says that a fault breaks
none, or that the reader without a fault breaks one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THRESHOLDS = "recognition/thresholds.py"
AT_THRESHOLDS = "    return Thresholds(alone, page, evidence"
# The name of a fault, the file, the code there and the wrong code.
FAULTS = (
    ("none", THRESHOLDS, AT_THRESHOLDS, AT_THRESHOLDS),
    (
        "flipped sign in the separators",
        "recognition/line_reading.py",
        "return sum(gap.separator for gap in gaps)",
        "return 1 - sum(gap.separator for gap in gaps)",
    ),
    (
        "no deskew",
        "inference/line_finding.py",
        "angle = float(np.arcsin(",
        "angle = 0 * float(np.arcsin(",
    ),
    ("wrong margin", "recognition/line_reading.py", "\nMARGINS = (0.2,", "\nMARGINS = (0.7,"),
    ("threshold 0.2 too high", THRESHOLDS, AT_THRESHOLDS, AT_THRESHOLDS.replace("e,", "e + 0.2,")),
    ("threshold 0.2 too low", THRESHOLDS, AT_THRESHOLDS, AT_THRESHOLDS.replace("e,", "e - 0.2,")),
    (
        "swapped axes",
        "inference/line_finding.py",
        "LineBox(centre[0] * scale_x, centre[1] * scale_y,",
        "LineBox(centre[1] * scale_y, centre[0] * scale_x,",
    ),
)  # fmt: skip
PROGRAM = """
import json
from digitcli.recognition.reader import Reader
from tests.support.quality import count_outcomes, failures
counts = count_outcomes(Reader(device="cpu"))
print(json.dumps({**counts, "failures": failures(counts)}))
"""


def main() -> int:
    """Read with each fault, and print a table. Return the exit code."""
    print(f"{'fault':32} {'correct':>8} {'answered':>9} {'wrong':>6}  broken limits")
    is_good = True
    for name, file, code, wrong in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            result = read_with_fault(Path(folder), file, code, wrong)
        broken = ", ".join(result["failures"])
        figures = f"{result['correct']:8} {result['answered']:9} {result.get('wrong', 0):6}"
        print(f"{name:32} {figures}  {broken}", flush=True)
        is_good = is_good and bool(broken) == (name != "none")
    return 0 if is_good else 8


def read_with_fault(folder: Path, file: str, code: str, wrong: str) -> Mapping[str, int | list[str]]:
    """Return the counts of a reader in whose copy some code is replaced.

    Raises:
        ValueError: the code does not stand there exactly once.
    """
    shutil.copytree(ROOT / "digitcli", folder / "digitcli")
    for name in ("models", "tests"):
        (folder / name).symlink_to(ROOT / name)
    text = (folder / "digitcli" / file).read_text()
    if text.count(code) != 1:
        raise ValueError(f"{file} does not have the code '{code.strip()}' once.")
    (folder / "digitcli" / file).write_text(text.replace(code, wrong))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    counts: Mapping[str, int | list[str]] = json.loads(done.stdout)
    return counts


if __name__ == "__main__":
    sys.exit(main())
