"""Reports that people read: report.html, report.json and MODEL_CARD.md of a run.

Holds `collect.collect(path)`, which returns a Report (`model`); `page.report_html`,
with drawings (`plots`, `svg`) and templates/; `model_card.model_card`;
`write.write_report` for the three files; `side_by_side.side_by_side` for several runs.
Import from it: these functions. It may import everything in `targets`.
`collect` opens runs; everything else works on a Report alone and needs no torch.
"""
