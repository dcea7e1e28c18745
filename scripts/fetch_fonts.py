"""Download handwriting fonts: half to train `digit_or_none` on letters, half to test it.

    python scripts/fetch_fonts.py fonts

The script downloads 46 fonts (OFL or Apache licence), which Fontsource publishes in the npm registry, with
`npm pack`. Every other font goes into fonts/train, the rest into fonts/test. The package contains none of
them.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "5.3.0"
FONTS = [
    "amatic-sc",
    "annie-use-your-telescope",
    "architects-daughter",
    "bad-script",
    "caveat",
    "caveat-brush",
    "cedarville-cursive",
    "coming-soon",
    "covered-by-your-grace",
    "crafty-girls",
    "dawning-of-a-new-day",
    "delius",
    "gaegu",
    "give-you-glory",
    "gloria-hallelujah",
    "gochi-hand",
    "handlee",
    "homemade-apple",
    "indie-flower",
    "just-another-hand",
    "kalam",
    "kristi",
    "la-belle-aurore",
    "loved-by-the-king",
    "mansalva",
    "marck-script",
    "mr-dafoe",
    "nanum-pen-script",
    "neucha",
    "nothing-you-could-do",
    "over-the-rainbow",
    "pangolin",
    "patrick-hand",
    "reenie-beanie",
    "rock-salt",
    "schoolbell",
    "sedgwick-ave",
    "shadows-into-light",
    "short-stack",
    "sue-ellen-francisco",
    "swanky-and-moo-moo",
    "the-girl-next-door",
    "vibur",
    "waiting-for-the-sunrise",
    "walter-turncoat",
    "zeyada",
]


def main() -> None:
    """Download the fonts that the folder does not have yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    for number, name in enumerate(FONTS):
        target = folder / ("test" if number % 2 else "train") / f"{name}.woff"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_bytes(download_font(name))
    print(f"{len(FONTS)} fonts in {folder}")


def download_font(name: str) -> bytes:
    """Download the Latin characters of a font in its regular weight."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"@fontsource/{name}@{VERSION}"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        content = (Path(folder) / done.stdout.split()[-1]).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        font = archive.extractfile(f"package/files/{name}-latin-400-normal.woff")
        assert font is not None
        return font.read()


if __name__ == "__main__":
    main()
