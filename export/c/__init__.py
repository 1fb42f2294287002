"""The C format: a network as portable C99, from its integer plan by templates.

Holds the choice of kernels and layouts, the templates, and the writer.
Import from it: `write` in `export.c.folder`; `export.c.program` describes a program.
It may import the rest of `export`, and `stars`.
Nothing here needs a compiler or imports torch.
"""
