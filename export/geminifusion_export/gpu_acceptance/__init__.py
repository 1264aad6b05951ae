"""The first contact with a GPU: what runs on it, whether it is right, and how fast it is.

`geminifusion doctor --gpu` runs the parts that `parts.py` lists, each in a process of its own with a time limit, so
that none stops the others, and ends in a table and a JSON object. A part is a module with a function `examine(report)`.
It raises `Missing` where the machine lacks what it needs, and writes what it finds into the report as it goes.
"""
