"""The page of a report: one HTML file with its style and figures inside, for any screen.

Colours follow the reader's choice of light or dark (``prefers-color-scheme``); those of text have a
contrast of at least 4.5:1 with the ground, those of curves at least 3:1. Wide tables scroll in a
box of their own. A content policy forbids everything that is not in the file, and scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion.report.figures import PageFigure, series
from fusion.report.forensic import forensic_sentences, forensic_tables
from fusion.report.tables import Cell, Table, tables
from fusion.report.words import facts, glossary, how
from ivector.base.foreign.names import html_text as escape

_LIGHT = ("#0072b2", "#c24e00", "#00805d", "#b65c90", "#a87000", "#3a93cc", "#1b1f23")
_DARK = ("#4fa3e0", "#f07f3c", "#2fbf91", "#e08cbe", "#e6b53c", "#9ad4f5", "#f2f2f2")


def _colours(curves: Sequence[str], **others: str) -> str:
    named = {**others, **{f"s{n}": colour for n, colour in enumerate(curves, 1)}}
    return "".join(f"--{name}:{value};" for name, value in named.items())


_ON_WHITE = _colours(
    _LIGHT, ground="#ffffff", text="#1b1f23", soft="#57606a", line="#d0d7de", tint="#f3f6f9",
    link="#0057a8", faint="#737b84", grid="#e3e7eb",
)  # fmt: skip
_ON_BLACK = _colours(
    _DARK, ground="#14181c", text="#e6e8ea", soft="#a7b0b9", line="#3a434c", tint="#1e242a",
    link="#7cb8f0", faint="#8b959f", grid="#2b333b",
)  # fmt: skip

STYLE = f"""
:root{{color-scheme:light dark;{_ON_WHITE}}}
@media (prefers-color-scheme:dark){{:root{{{_ON_BLACK}}}}}
""" + """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--text);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,nav,main,footer{max-width:70rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.35rem;line-height:1.3;margin:2.6rem 0 .8rem;padding-top:.9rem;
border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.6rem 0 .4rem}
p,li,dd,dt,figcaption,caption{overflow-wrap:anywhere}
p,ul,dl{margin:.5rem 0 .9rem}
.lead{font-size:1.1rem;max-width:48rem}
.soft,figcaption,footer{color:var(--soft)}
a{color:var(--link)}
a:focus-visible,.scroll:focus-visible{outline:3px solid var(--link);outline-offset:2px}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;padding:0;margin:.8rem 0 0}
nav a{display:inline-block;padding:.25rem 0}
.scroll{overflow-x:auto;margin:1rem 0;border:1px solid var(--line);border-radius:6px;
background:linear-gradient(to left,var(--ground) 40%,transparent) right/3rem 100% no-repeat local,
linear-gradient(to left,var(--line),transparent) right/1.2rem 100% no-repeat scroll}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.94rem}
caption{text-align:left;padding:.6rem .75rem;color:var(--soft)}
caption span{position:sticky;left:.75rem;display:inline-block;
max-width:min(62rem,calc(100vw - 5rem))}
th,td{padding:.45rem .6rem;text-align:right;vertical-align:top;white-space:nowrap;
border-top:1px solid var(--line)}
thead th{vertical-align:bottom;white-space:normal;min-width:5.2rem;background:var(--tint)}
th:first-child{text-align:left;position:sticky;left:0;background:var(--ground);
white-space:normal;overflow-wrap:anywhere;min-width:6.5rem;max-width:16rem}
thead th:first-child,th[scope=rowgroup]{background:var(--tint)}
th[scope=rowgroup]{max-width:none}
th[scope=rowgroup] span{position:sticky;left:.75rem;display:inline-block;
max-width:calc(100vw - 5rem)}
tbody th{font-weight:600}
small{display:block;color:var(--soft);font-size:.82rem;font-weight:400}
.plots{display:grid;gap:2rem 2.2rem;
grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr))}
figure{margin:0;min-width:0}
figure h3{margin-top:.2rem}
figure>svg{display:block;width:100%;max-width:31rem;height:auto;overflow:visible}
svg text{font-family:inherit;stroke:none}
svg path{stroke-linejoin:round}
.key{list-style:none;display:flex;flex-wrap:wrap;gap:.15rem 1.2rem;padding:0;margin:.4rem 0;
font-size:.92rem}
.key li{display:flex;gap:.45rem;align-items:center;min-width:0}
.key svg{flex:none;width:2.2rem;height:.8rem}
.key b{font-weight:400;color:var(--soft)}
figcaption{font-size:.9rem;max-width:40rem}
dl.facts{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.2rem 1.2rem}
dl.facts dd{margin:0}
dt{font-weight:600}
summary{cursor:pointer;color:var(--link)}
dl.terms dd{margin:0 0 .6rem;max-width:48rem}
pre{overflow-x:auto;background:var(--tint);border:1px solid var(--line);border-radius:6px;
padding:.75rem;font-size:.88rem;white-space:pre-wrap;overflow-wrap:anywhere}
footer{padding-top:1.2rem;padding-bottom:2.5rem;font-size:.9rem}
@media (max-width:36rem){h1{font-size:1.5rem}.lead{font-size:1.02rem}
header,nav,main,footer{padding-left:1rem;padding-right:1rem}
th,td{padding:.4rem .55rem}th:first-child{max-width:8.5rem}
main{display:flex;flex-direction:column}main>.errors{order:-1}
dl.facts{grid-template-columns:1fr}dl.facts dd{margin-bottom:.5rem}}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@media print{""" + f":root{{color-scheme:light;{_ON_WHITE}}}" + """
body{font-size:10pt}nav{display:none}header,main,footer{max-width:none;padding:0}
details::details-content{content-visibility:visible;display:block;height:auto}summary{display:none}
.scroll{overflow:visible;border:0}table{font-size:8pt}
small{font-size:6.5pt;white-space:nowrap}th,td{white-space:normal;padding:.2rem .35rem}
thead th,th:first-child{min-width:0;position:static}
figure,tr,dl.terms div{break-inside:avoid}h2,h3,caption{break-after:avoid}
.plots{grid-template-columns:1fr 1fr}a{color:inherit;text-decoration:none}}
"""  # fmt: skip
# No source but this file: nothing can be fetched, nothing run.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(content: Mapping[str, Any], figures: Mapping[str, Sequence[PageFigure]]) -> str:
    """The whole page.

    Parameters
    ----------
    content : dict
        Of `fusion.report.make.Report`.
    figures : mapping of {"errors", "scores", "llr"} to sequence of PageFigure
    """
    content = dict(content)
    made = {table.key: table for table in tables(content)}
    sections = [
        ("systems", "Systems", _table(made["systems"])),
        ("comparison", "Comparison", _comparison(made)),
        ("conditions", "Conditions",
         "".join(_table(table) for key, table in made.items() if key.startswith("condition-"))),
        ("forensic", "Forensic validation", _forensic(content)),
        ("cautions", "Cautions", _list(content["cautions"])),
        ("errors", "Errors at every threshold", _plots(figures["errors"])),
        ("likelihood-ratios", "Likelihood ratios", _plots(figures["llr"])),
        ("scores", "Scores", _plots(figures["scores"], _classes())),
        ("data", "Data", _facts(content)),
        ("terms", "Terms", _terms(content)),
        ("made", "How it was made", _made(content)),
    ]  # fmt: skip
    kept = [section for section in sections if section[2]]
    title = escape(content["title"])
    date = f'<p class="soft">{escape(content["date"])}</p>' if content["date"] else ""
    summary = "".join(f'<p class="lead">{escape(text)}</p>' for text in content["summary"])
    links = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in kept)
    body = "".join(
        f'<section class="{key}" aria-labelledby="{key}"><h2 id="{key}">{name}</h2>{text}'
        "</section>\n"
        for key, name, text in kept
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{title}</h1>{date}{summary}</header>\n"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n<main>\n{body}</main>\n'
        "<footer><p>Self-contained: this page fetches nothing. The tables stand in the "
        "Markdown and JSON files written with it, too.</p></footer>\n</body>\n</html>\n"
    )


def _comparison(made: Mapping[str, Table]) -> str:
    """The differences that matter most, and the others folded away."""
    text = _table(made["differences"]) if "differences" in made else ""
    if "more-differences" in made:
        more = _table(made["more-differences"])
        text += f"<details><summary>At the other operating points</summary>{more}</details>\n"
    return text


def _table(table: Table) -> str:
    """A table in a box that scrolls, by keyboard too."""
    caption = f"{table.key}-caption"
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in table.head)
    bodies = []
    for name, rows in table.parts:
        group = ""
        if name:
            group = (
                f'<tr><th scope="rowgroup" colspan="{len(table.head)}"><span>{escape(name)}</span>'
                "</th></tr>"
            )
        bodies.append(f"<tbody>{group}{''.join(map(_row, rows))}</tbody>")
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{caption}"><table>'
        f'<caption><span id="{caption}">{escape(table.caption)}</span></caption>'
        f"<thead><tr>{head}</tr></thead>{''.join(bodies)}</table></div>\n"
    )


def _row(cells: Sequence[Cell]) -> str:
    name, *numbers = cells
    return f'<tr><th scope="row">{escape(name.text)}</th>{"".join(map(_cell, numbers))}</tr>'


def _cell(cell: Cell) -> str:
    return f"<td>{_text(cell)}</td>"


def _text(cell: Cell) -> str:
    text = f"<strong>{escape(cell.text)}</strong>" if cell.best else escape(cell.text)
    # A blank, so that what is set in lines is not read as one word.
    return text + "".join(f" <small>{escape(line)}</small>" for line in cell.extra)


def _plots(figures: Sequence[PageFigure], key: str = "") -> str:
    """Figures side by side where there is room; their key, if they share one, above."""
    if not figures:
        return ""
    return f'{key}<div class="plots">{"".join(map(_figure, figures))}</div>\n'


def _figure(figure: PageFigure) -> str:
    how = f"<figcaption>{escape(figure.how)}</figcaption>" if figure.how else ""
    return (
        f"<figure><h3>{escape(figure.title)}</h3>{figure.svg}"
        f"{_key(figure.series, figure.symbols)}{how}</figure>\n"
    )


def _key(lines: Sequence[tuple[int, str, str]], symbols: Sequence[tuple[str, str]] = ()) -> str:
    """Legend of a figure, as text of the page."""
    items = [
        f'<li><svg viewBox="0 0 35 12" aria-hidden="true"><path d="M0 6H35" stroke="var(--s{n})" '
        f'stroke-width="3"{f" stroke-dasharray={chr(34)}{dashes}{chr(34)}" if dashes else ""}/>'
        f"</svg><span>{escape(text)}</span></li>"
        for n, dashes, text in lines
    ]
    items += [
        f'<li><b aria-hidden="true">{symbol}</b><span>{escape(text)}</span></li>'
        for symbol, text in symbols
    ]
    return f'<ul class="key">{"".join(items)}</ul>' if items else ""


def _classes() -> str:
    """Legend of histograms."""
    lines = [
        (number, "", text) for number, _, text in series(["nontarget trials", "target trials"])
    ]
    return (
        _key(lines)
        + '<p class="soft">Each class has an area of 1. Dashed: the threshold of least error where '
        "both classes count alike.</p>"
    )


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def _forensic(content: dict[str, Any]) -> str:
    made = "".join(map(_table, forensic_tables(content)))
    return "".join(f"<p>{escape(text)}</p>" for text in forensic_sentences(content)) + made


def _facts(content: dict[str, Any]) -> str:
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts(content))
    return f'<dl class="facts">{rows}</dl>'


def _terms(content: dict[str, Any]) -> str:
    rows = "".join(
        f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in glossary(content)
    )
    return f'<dl class="terms">{rows}</dl>'


def _made(content: dict[str, Any]) -> str:
    commands = "\n".join(content["commands"])
    told = f"<pre><code>{escape(commands)}</code></pre>" if commands else ""
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in how(content))
    return f'{told}<dl class="facts">{rows}</dl>'
