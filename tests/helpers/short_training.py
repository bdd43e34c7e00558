"""Under nbval the notebooks that train do so for a few steps: the book's build trains in full.

`make test` loads this plugin. It stands here and not in the notebooks, where a reader would have to
wonder about it.
"""

SHORTER = {  # of a notebook: how a line begins, and what takes its place
    "00_ssd_on_one_page.ipynb": {
        "steps = 500": "steps = 20",
        "assert recall >": "pass  # true after all steps",
    },
    "11_training.ipynb": {  # the log needs 200 steps, because the page plots averages over 200
        "recipe = LITE_RECIPE": "recipe = replace(LITE_RECIPE, steps=220, evaluate_every=220)",
        "assert evaluation.map50 >=": "pass  # true after all steps",
        "assert half[": "pass  # true after all steps",
    },
}


def shortened(source, notebook, found):
    """A cell's source with its lines replaced; adds to ``found`` which were there."""
    lines = source.splitlines()
    for i, line in enumerate(lines):
        for beginning, shorter in SHORTER[notebook].items():
            if line.startswith(beginning):
                lines[i] = shorter
                found.append(beginning)
    return "\n".join(lines)


def pytest_collection_modifyitems(items):
    """Shorten what trains, and start it first: it still takes the longest."""
    for notebook, lines in SHORTER.items():
        cells = [item.cell for item in items if item.path.name == notebook]
        found = []
        for cell in cells:
            cell.source = shortened(cell.source, notebook, found)
        if cells and sorted(found) != sorted(lines):
            raise ValueError(
                f"{notebook} must have each of these lines once: {', '.join(lines)}; it has {found}"
            )
    items.sort(key=lambda item: item.path.name not in SHORTER)
