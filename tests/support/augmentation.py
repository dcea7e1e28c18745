"""Recipes with chosen augmentations."""

from __future__ import annotations

from digitcli.architectures.recipe import Recipe, augmentations
from digitcli.settings import settings_of

TYPICAL_STRENGTH = 0.5  # within the range of every augmentation that has a strength


def recipe_with(*names: str) -> Recipe:
    """Return a recipe with these augmentations only, each turned on or of a typical strength."""
    types = {declared.name: declared.type for declared in settings_of(Recipe)}
    strengths = {name: TYPICAL_STRENGTH * (name in names) for name in augmentations()}
    return Recipe(augment=True, **{name: types[name](value) for name, value in strengths.items()})
