"""The pages that people look at: report.html, report.json and MODEL_CARD.md of a run.

    data.collect(path) -> Report       everything that a page says (model.py)
    page.html(report, picture) -> str  drawings (plots.py, svg.py) in templates/
    model_card.model_card(report) -> str
    output.write_report(...)           the three files
    compare.compare(reports)           runs side by side

`data` opens runs; all else works on a Report alone.
"""
