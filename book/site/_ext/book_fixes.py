"""What the book needs from Sphinx and does not get by itself."""


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


def setup(app):
    app.connect("config-inited", drop_thebe)
    app.connect("doctree-read", name_labels)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
