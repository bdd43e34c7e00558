"""What the book needs from Sphinx and does not get by itself."""

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.transforms.post_transforms import SphinxPostTransform


def drop_thebe(app, config):
    """Drop sphinx-thebe, which Jupyter Book always loads.

    It puts itself on every page twice, which is an error in the browser.
    """
    for listener in list(app.events.listeners["env-before-read-docs"]):
        if listener.handler.__name__ == "init_thebe_core":
            app.disconnect(listener.id)


def name_labels(app, doctree):
    """Let [words](notebook.ipynb#label) lead to a label; MyST's parser alone knows only headings.

    A {ref} would do without the file's name, but JupyterLab cannot follow it into another notebook.
    """
    targets = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for label, explicit in doctree.nametypes.items():
        if explicit and (place := doctree.nameids.get(label)):
            targets.setdefault(label, (0, place, label))


class FoldsBelow(SphinxPostTransform):
    """Folded code comes after what it draws and its caption: one looks first, then asks how."""

    default_priority = 200  # when MyST-NB has folded it
    formats = ("html",)

    def run(self, **kwargs):
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") != "cell_code" or len(cell.children) < 2:
                continue
            fold, *shown = cell.children
            if isinstance(fold, HideCodeCellNode):
                moved = [*shown, *self.take_caption(cell), fold]
                cell.clear()
                cell.extend(moved)

    def take_caption(self, cell):
        """The caption that follows a cell, taken out of its place."""
        around = cell.parent
        after = around.children[around.index(cell) + 1 :]
        taken = []
        for node in after[:2]:
            if isinstance(node, nodes.target):
                taken.append(node)
            elif any(name.startswith("fig-") for name in node.get("ids", ())):
                taken.append(node)
                for part in taken:
                    around.remove(part)
                return taken
        return []


def setup(app):
    app.connect("config-inited", drop_thebe)
    app.connect("doctree-read", name_labels)
    app.add_post_transform(FoldsBelow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
