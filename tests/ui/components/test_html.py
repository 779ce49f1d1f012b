"""Markup of the page: what is put into it is harmless."""

from markupsafe import Markup

from sd.ui.components import html


def test_what_is_put_into_markup_is_escaped() -> None:
    assert html.paragraph("<b>a & b") == '<p class="note">&lt;b&gt;a &amp; b</p>'
    assert html.tags("li", ["<i>", Markup("<b>c</b>")]) == "<li>&lt;i&gt;</li><li><b>c</b></li>"
    bar = html.progress_bar(["<b>", "two"], 0.5, 'a "label"', "running")
    assert "<p><span>&lt;b&gt;</span><span>two</span></p>" in bar
    assert (
        'aria-label="a &#34;label&#34;"' in bar and "&lt;" not in str(Markup(bar)).split("<p>")[0]
    )


def test_a_bar_tells_its_share_twice() -> None:
    bar = html.progress_bar(["reading"], 0.166)
    assert bar.startswith('<div class="progress"><p><span>reading</span></p>')
    assert 'aria-valuenow="17"' in bar and "width:16.6%" in bar and "aria-label" not in bar
