"""Draw the doubtful labels of a dataset in a file, as a contact sheet to look through."""

from __future__ import annotations

from pathlib import Path

from digitcli.diagnosis.data import ExaminedData
from digitcli.diagnosis.label_errors import DoubtfulLabel
from digitcli.errors import counted
from digitcli.interpretation.drawing import Drawing, Section, save_drawing
from digitcli.interpretation.pictures import CaptionedPicture, in_colours, printable

# Labels of a sheet: more would make a picture that is higher than programs can show.
MOST_DRAWN = 400
LEGEND = (
    "Networks that were not trained on these digits read others than the labels say. The most doubtful come "
    "first. An exclamation mark: confident learning takes the label for wrong."
)


def save_contact_sheet(path: Path, data: ExaminedData, name: str) -> None:
    """Write the most doubtful labels to a .png, .svg or .html file.

    name: the name of the dataset.

    Raises:
        OutputError: the file cannot be written.
    """
    shown = data.doubtful[:MOST_DRAWN]
    drawn = "" if len(shown) == len(data.doubtful) else f", of which the first {len(shown):,} are drawn"
    title = (
        f"{counted(len(data.doubtful), 'doubtful label')} in the {data.part} part of {printable(name)}{drawn}"
    )
    pictures = [_captioned(data, label) for label in shown]
    save_drawing(path, Drawing("Doubtful labels", [Section(title, pictures)], LEGEND))


def _captioned(data: ExaminedData, label: DoubtfulLabel) -> CaptionedPicture:
    mark = "!" if label.is_error else ""
    caption = f"#{label.index}: {label.label}, rather {label.suggestion}{mark}"
    file = f", {printable(data.name_of(label))}" if data.name_of(label) else ""
    certainty = f"its label has {100 * label.probability:.1f} %"
    return CaptionedPicture(
        in_colours(data.digits.images[label.index]), caption, f"{caption}; {certainty}{file}"
    )
