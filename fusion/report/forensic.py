"""The chapter on forensic validation: its tables, sentences and terms, of a report's content."""

from __future__ import annotations

from typing import Any

from fusion.forensic.words import TERMS, sentences
from fusion.forensic.words import tables as text_tables
from fusion.report.tables import Cell, Table

Record = dict[str, Any]


def forensic_tables(content: Record) -> list[Table]:
    """Tables of the chapter; none if the report has no such chapter."""
    records = content.get("forensic")
    if not records:
        return []
    return [
        Table(
            table.key,
            table.caption,
            [Cell(text) for text in table.head],
            [(name, [list(map(_cell, row)) for row in rows]) for name, rows in table.parts],
        )
        for table in text_tables(records)
    ]


def _cell(text: str) -> Cell:
    """A cell with its interval, if it has one, on a line of its own."""
    number, bracket, rest = text.partition(" [")
    return Cell(number, (f"[{rest}",) if bracket else ())


def forensic_sentences(content: Record) -> list[str]:
    """What the chapter says of each system, a line each."""
    records = content.get("forensic") or {}
    return [text for name, record in records.items() for text in sentences(name, record)]


def forensic_terms(content: Record) -> list[tuple[str, str]]:
    """Terms of the chapter, for the glossary."""
    return list(TERMS) if content.get("forensic") else []
