"""The target that compiles a network's C sources and runs them as a program.

Holds the target, the search for compilers, the supervision of the compiled program, and
`record.c`, which writes every spike and membrane.
Import from it: `target`; modules that are named in `targets.table` are targets.
It may import `targets.base`, `export` and `stars`.
Nothing here needs torch.
"""
