"""What the book needs from Sphinx and does not get by itself."""

from pathlib import Path


def drop_thebe(app, config):
    """Drop sphinx-thebe, which Jupyter Book always loads.

    It puts itself on every page twice, which is an error in the browser.
    """
    for listener in list(app.events.listeners["env-before-read-docs"]):
        if listener.handler.__name__ == "init_thebe_core":
            app.disconnect(listener.id)


def rerun_after_changes(app, env, added, changed, removed):
    """Run every notebook again when the package or the recorded results change.

    A page shows what they say.
    """
    patterns = ("ssd_lite/**/*.py", "book/*.py", "book/*/*.*", "figures/*")
    sources = [path for pattern in patterns for path in Path(app.srcdir).glob(pattern)]
    last_change = max((path.stat().st_mtime_ns for path in sources), default=0) // 1000
    notebooks = [page for page in env.found_docs if env.doc2path(page).endswith(".ipynb")]
    return [
        page for page in notebooks if env.all_docs.get(page, 0) < last_change
    ]  # both in microseconds


def setup(app):
    app.connect("config-inited", drop_thebe)
    app.connect("env-get-outdated", rerun_after_changes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
