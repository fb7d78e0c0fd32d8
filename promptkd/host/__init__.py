"""Runs other people's repositories: one in the manner of CoOp, as it is, in a process of its own.

`repository` finds what a folder holds, `jobs` plans its runs, `run` is one of them: it starts `child`, in which the
repository's code runs between the bridges of `bridges`, watches it, and writes results.json.
"""
