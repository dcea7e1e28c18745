"""Synthetic scenes, strips of them and characters of handwriting with exact labels; free of torch.

`scenes` composes pages and lines: a layout (`page_layouts`, `one_line`) puts what scribes write (`stamps`, by
`writers`, from `strokes`, `glyphs` or fonts) and `things` on a `page`, and a `camera` photographs it on
`paper`. `shares.toml` says how often each kind occurs, and `strips` cuts lines out of scenes. `characters`
makes what networks of single digits learn from.
"""
