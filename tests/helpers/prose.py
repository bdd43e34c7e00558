"""What a reader reads of a notebook."""

import re


def words(cells) -> int:
    """How many words its text has, listings left out; signs that stand alone count as well."""
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return len(re.sub(r"```[\s\S]*?```", "", text).split())
