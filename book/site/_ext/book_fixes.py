"""What the book needs from Sphinx and does not get by itself."""


def drop_thebe(app, config):
    """Drop sphinx-thebe, which Jupyter Book always loads.

    It puts itself on every page twice, which is an error in the browser.
    """
    for listener in list(app.events.listeners["env-before-read-docs"]):
        if listener.handler.__name__ == "init_thebe_core":
            app.disconnect(listener.id)


def setup(app):
    app.connect("config-inited", drop_thebe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
