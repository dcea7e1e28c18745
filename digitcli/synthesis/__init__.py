"""Synthetic lines, characters and pages of handwriting with exact labels; free of torch.

`lines` composes a line in these steps: sample a text and a writer (`writers`), draw each character with a pen
(`glyphs`, from `strokes` or MNIST), place the characters side by side (`writers`), put them on paper among
`distractors`, and photograph the `paper`. `scenes` composes whole pages, and `strips` cuts lines out of them.
"""
