"""The demo in the browser: `make app`, or `python -m pointlang.app`; docs/app.md describes it.

glb.py         a cloud as a .glb that turns
reading.py     read an upload in a process of its own, with a time limit
collection.py  objects to pick and to search in
service.py     what the page asks of the systems: one request at a time, every input checked
page.py        the page (gradio)
__main__.py    the command
"""
