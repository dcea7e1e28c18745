"""Download handwriting fonts: half to train `digit_or_none` on letters, half to test it.

    python scripts/fetch_fonts.py fonts

The script downloads 46 fonts (OFL or Apache licence), which Fontsource publishes in the npm registry, with
`npm pack`. Every other font goes into fonts/train, the rest into fonts/test. The package contains none of
them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from embed_handwriting import download_font

FONTS = (
    "amatic-sc annie-use-your-telescope architects-daughter bad-script caveat caveat-brush "
    "cedarville-cursive coming-soon covered-by-your-grace crafty-girls dawning-of-a-new-day delius "
    "gaegu give-you-glory gloria-hallelujah gochi-hand handlee homemade-apple indie-flower "
    "just-another-hand kalam kristi la-belle-aurore loved-by-the-king mansalva marck-script mr-dafoe "
    "nanum-pen-script neucha nothing-you-could-do over-the-rainbow pangolin patrick-hand "
    "reenie-beanie rock-salt schoolbell sedgwick-ave shadows-into-light short-stack "
    "sue-ellen-francisco swanky-and-moo-moo the-girl-next-door vibur waiting-for-the-sunrise "
    "walter-turncoat zeyada"
)


def main(folder: Path) -> None:
    """Download the fonts that the folder does not have yet."""
    names = FONTS.split()
    for number, name in enumerate(names):
        target = folder / ("test" if number % 2 else "train") / f"{name}.woff"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_bytes(download_font(name)[0])
    print(f"{len(names)} fonts in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1])) if len(sys.argv) == 2 else sys.exit(__doc__)
