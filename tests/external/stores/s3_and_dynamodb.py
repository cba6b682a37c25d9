"""moto's server, without what it does anew for each request beside the request's work.

Its answers are its own. For each request it lists the folders of its package to learn
which services it has, and goes through all of their patterns to tell whose host the
request names: neither changes while it runs, and together they take longer than a GET.
"""

import functools
import logging
import sys

from moto import backends, server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication


def main():
    folders = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: folders
    DomainDispatcherApplication.get_backend_for_host = functools.lru_cache(
        DomainDispatcherApplication.get_backend_for_host
    )
    # A line for each request is written while requests wait, and nobody reads it.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    return server.main()


if __name__ == "__main__":
    sys.exit(main())
