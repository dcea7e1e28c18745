"""Build a release and check it: `python scripts/release.py DIR` (needs `pip install build`).

Writes the wheel, the source distribution and `notes.md`, the section of CHANGELOG.md about this version, into
a new folder. Each distribution is installed into an empty environment, reads the example picture, trains
for one batch, and lists its models. Nothing is uploaded. To publish: tag the commit `vVERSION`, and upload
the two files.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    ("--version",),
    ("models", "--shipped"),
    ("predict", str(ROOT / "image.png"), "--format", "json"),
    ("train", "--arch", "fast", "--dry-run"),
)


def main(arguments: list[str]) -> int:
    """Build, check, and write the notes. Return the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    folder = Path(arguments[0])
    folder.mkdir()
    version = re.search(r'__version__ = "(.+)"', (ROOT / "digitcli" / "__init__.py").read_text())
    if version is None:
        print("digitcli/__init__.py has no version.")
        return 1
    notes = notes_of(version[1])
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
    for distribution in sorted(folder.iterdir()):
        check(distribution, version[1])
        print(f"{distribution.name}: {distribution.stat().st_size:,} bytes, checked")
    (folder / "notes.md").write_text(notes)
    return 0


def notes_of(version: str) -> str:
    """Return the section of the changelog about a version.

    Raises:
        ValueError: there is none, or the version is not released yet.
    """
    text = (ROOT / "CHANGELOG.md").read_text()
    section = re.search(rf"^## {re.escape(version)}: (.+)\n((?:(?!## ).*\n)*)", text, re.MULTILINE)
    if section is None or section[1] == "unreleased":
        raise ValueError(f"CHANGELOG.md has no section '## {version}: DATE'.")
    return section[2].strip() + "\n"


def check(distribution: Path, version: str) -> None:
    """Install a distribution into an empty environment, and run some commands there.

    Raises:
        subprocess.CalledProcessError: the installation or a command failed.
        ValueError: another version was installed, or the example picture is misread.
    """
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        scripts = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin")
        subprocess.run([scripts / "python", "-m", "pip", "install", "-q", distribution], check=True)
        shown = [
            subprocess.run(
                [scripts / "digitcli", *words], check=True, capture_output=True, text=True, cwd=folder
            ).stdout
            for words in CHECKS
        ]
    if shown[0].split() != ["digitcli", version] or '"text": "4"' not in shown[2]:
        raise ValueError(f"{distribution.name} answers wrongly: {shown[0]}{shown[2]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
