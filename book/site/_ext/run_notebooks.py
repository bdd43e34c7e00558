"""Notebooks run before the pages are made: several at once, and only what may have changed.

By itself Sphinx runs them one after the other. Here each runs in a process of its own, and what it
showed is kept in jupyter-cache, from where MyST-NB takes it. A notebook runs again when its code
changes. All run again when anything changes that a notebook may import or read: the cache's folder
is named after a fingerprint of all that.
"""

import hashlib
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import create_nb_reader
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode
from sphinx.errors import SphinxError
from sphinx.util import logging

logger = logging.getLogger(__name__)
# Not book/site: how pages look changes nothing that a notebook computes.
READ_BY_NOTEBOOKS = ("ssd_lite/**/*", "book/*.py", "book/checks/*", "book/slow/*")
READ_BY_NOTEBOOKS += ("book/explorers/*", "figures/**/*", "requirements.lock")
CACHES = Path(
    "_build", "notebooks"
)  # beside the sources, wherever the pages go: all builds share it
LONGEST = (
    "chapters/11_training"  # it trains for minutes: it starts first, and the others run beside it
)
AT_ONCE = 4  # at most, for the longest takes longer than a third of all others together
QUIET = ["--log-level=ERROR"]  # or every kernel says that it is spoken to over TCP


class NotebookFailed(SphinxError):
    category = "A notebook failed"


class Run(NamedTuple):
    page: str
    notebook: NotebookNode  # with its outputs
    seconds: float
    failure: str  # the traceback; empty if all went well


def fingerprint(root):
    """Of the names and contents of all files that a notebook may import or read."""
    found = {
        path for pattern in READ_BY_NOTEBOOKS for path in Path(root).glob(pattern) if path.is_file()
    }
    digest = hashlib.sha256()
    for path in sorted(found):
        if "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content} {path.relative_to(root).as_posix()}\n".encode())
    return digest.hexdigest()[:16]


def choose_cache(app, config):
    """Another folder is another setting, so Sphinx makes all pages anew; older ones are void."""
    caches = Path(app.srcdir) / CACHES
    current = caches / fingerprint(app.srcdir)
    for folder in caches.glob("*"):
        if folder != current:
            shutil.rmtree(folder, ignore_errors=True)
    config.nb_execution_cache_path = str(current)


def run_what_changed(app, env, pages):
    """Of the pages that will be read, run those notebooks whose outputs are not in the cache."""
    if env.mystnb_config.execution_mode != "cache":
        return
    cache = get_cache(env.mystnb_config.execution_cache_path)
    notebooks = {page: read_notebook(env, page) for page in pages}
    wanted = {
        page: notebook
        for page, notebook in notebooks.items()
        if notebook and not in_cache(cache, notebook)
    }
    failures = []
    for run in run_all(env, wanted):
        logger.info("%s %s after %.0f s", run.page, "failed" if run.failure else "ran", run.seconds)
        if run.failure:
            failures.append(f"{run.page}\n{run.failure}")
        else:
            keep(cache, run)
    if failures:
        raise NotebookFailed("\n\n".join(failures))


def read_notebook(env, page):
    """The notebook that a page is made of; None if there is no code to run on it."""
    path = env.doc2path(page)
    content = Path(path).read_text(encoding="utf-8")
    reader = create_nb_reader(path, env.myst_config, env.mystnb_config, content)
    return reader.read(content) if reader else None


def in_cache(cache, notebook):
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        return False
    return True


def keep(cache, run):
    bundle = CacheBundleIn(run.notebook, run.page, data={"execution_seconds": run.seconds})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def run_all(env, notebooks):
    """Run notebooks side by side, sharing the cores; yields each as it comes to its end."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    at_once = min(cores, AT_ONCE)
    settings = {"timeout": env.mystnb_config.execution_timeout, "threads": cores // at_once}
    with ProcessPoolExecutor(at_once) as pool:
        longest_first = sorted(notebooks, key=lambda page: page != LONGEST)
        runs = [
            pool.submit(run_one, page, notebooks[page], env.doc2path(page), **settings)
            for page in longest_first
        ]
        for run in as_completed(runs):
            yield run.result()


def run_one(page, notebook, path, timeout, threads):
    """Run a notebook in its own folder."""
    start, failure = time.perf_counter(), ""
    folder = {"metadata": {"path": str(Path(path).parent)}}
    options = {
        "resources": folder,
        "extra_arguments": QUIET,
        "record_timing": False,
    }  # times would be metadata
    client = NotebookClient(notebook, timeout=timeout, **options)
    try:
        client.execute(env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    except (CellControlSignal, DeadKernelError) as error:
        failure = str(error)
    return Run(page, notebook, time.perf_counter() - start, failure)


def setup(app):
    app.connect("config-inited", choose_cache)
    app.connect("env-before-read-docs", run_what_changed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
