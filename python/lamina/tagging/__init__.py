"""Labelling the items of a sequence: models, readers of annotated files, and their measures."""

__all__: list[str] = []
