"""The short form of a report: a verdict, a table, and nothing that is markup."""

import pytest

from targets.summary import Summary, si


def test_a_summary_is_a_verdict_an_aligned_table_and_notes():
    summary = Summary("good", ("name", "n"), [("a", "1,000"), ("bcdef", "2")], ["note"])
    assert summary.text().splitlines() == [
        "good",
        "name       n",
        "a      1,000",
        "bcdef      2",
        "note",
    ]
    assert summary.html() == (
        "<div><p><strong>good</strong></p><table><tr><th>name</th><th>n</th></tr>"
        "<tr><td>a</td><td>1,000</td></tr><tr><td>bcdef</td><td>2</td></tr></table>"
        "<p>note</p></div>"
    )


def test_no_text_becomes_markup():
    bad = "<img src=x>&\"'"
    shown = Summary(bad, (bad,), [(bad,)], [bad]).html()
    assert "<img" not in shown
    assert shown.count("&lt;img src=x&gt;&amp;&#34;&#39;") == 4


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 J"),
        (4.897e-5, "49 µJ"),
        (2.4016e-6, "2.4 µJ"),
        (9.999e-4, "1 mJ"),
        (1.5, "1.5 J"),
        (3e-16, "0.3 fJ"),
        (1234.0, "1.23 kJ"),
    ],
)
def test_numbers_are_shown_with_three_digits_and_a_prefix(value, shown):
    assert si(value, "J") == shown
