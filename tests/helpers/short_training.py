"""Under nbval chapter 11 trains for a few steps: the book's build trains it in full.

`make test` loads this plugin. It stands here and not in the notebook, where a reader would have to
wonder about it. The log needs 200 steps, because the page plots averages over 200.
"""

NOTEBOOK = "11_training.ipynb"
SHORTER = {  # how a line begins, and what takes its place
    "recipe = LITE_RECIPE": "recipe = replace(LITE_RECIPE, steps=220, evaluate_every=220)",
    "assert evaluation.map50 >=": "pass  # true after all steps",
    "assert half[": "pass  # true after all steps",
}


def shortened(source, found):
    """A cell's source with its lines replaced; adds to ``found`` which were there."""
    lines = source.splitlines()
    for i, line in enumerate(lines):
        for beginning in [beginning for beginning in SHORTER if line.startswith(beginning)]:
            lines[i] = SHORTER[beginning]
            found.append(beginning)
    return "\n".join(lines)


def pytest_collection_modifyitems(items):
    """Shorten chapter 11, and start it first: it still takes the longest."""
    cells = [item.cell for item in items if item.path.name == NOTEBOOK]
    found = []
    for cell in cells:
        cell.source = shortened(cell.source, found)
    if cells and sorted(found) != sorted(SHORTER):
        raise ValueError(
            f"{NOTEBOOK} must have each of these lines once: {', '.join(SHORTER)}; it has {found}"
        )
    items.sort(key=lambda item: item.path.name != NOTEBOOK)
