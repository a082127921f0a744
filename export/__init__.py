"""Exports of a model that run without Python: a C library, and a page in a browser.

`fcs-edge export` writes them. ``native/`` has the C sources, ``web/`` those of the page.
"""
