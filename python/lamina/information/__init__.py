"""Measures of information of texts and tables of counts."""

__all__: list[str] = []
