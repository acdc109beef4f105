"""The style of the HTML page: for a screen of any width, light or dark, and for A4."""

from typing import Final

STYLE: Final = """
:root { --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --paper: #ffffff; --tint: #f6f8fa;
  --good: #116329; --good-tint: #e6f4ea; --bad: #a40e26; --bad-tint: #fdeaec; --odd: #7a4d05; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --paper: #0d1117;
  --tint: #161b22; --good: #56d364; --good-tint: #12261a; --bad: #ff8182; --bad-tint: #2d1518; --odd: #e3b341; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: var(--paper); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
header { border-left: .4rem solid; border-radius: .3rem; padding: .9rem 1.1rem; }
header.pass { border-color: var(--good); background: var(--good-tint); }
header.fail { border-color: var(--bad); background: var(--bad-tint); }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .3rem; }
header.pass h1, .pass { color: var(--good); } header.fail h1, .fail { color: var(--bad); }
.skipped, .info { color: var(--odd); }
header p { margin: .2rem 0; color: var(--ink); }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
p.note { color: var(--soft); margin: .4rem 0; }
dl { margin: 0; } dl > div { display: grid; grid-template-columns: 11rem minmax(0, 1fr); gap: .75rem;
  padding: .22rem 0; }
dt { color: var(--soft); } dd { margin: 0; white-space: pre-wrap; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: .35rem .6rem .35rem 0; vertical-align: top; border-bottom: 1px solid var(--line); }
th { overflow-wrap: normal; }
td > div { white-space: pre-wrap; } td.whole > div { white-space: nowrap; }
code, pre { font: .88em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { margin: .5rem 0; padding: .7rem .8rem; background: var(--tint); border: 1px solid var(--line);
  border-radius: .3rem; white-space: pre-wrap; }
ol.plan { margin: 0; padding-left: 1.6rem; } ol.plan li { margin: 0 0 .7rem; padding-left: .2rem; }
ol.plan pre { margin: .25rem 0 0; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .88rem; }
@media screen and (max-width: 40rem) {
  main { padding: 1rem .8rem 2rem; }
  dl > div { display: block; } dd { margin-bottom: .3rem; }
  table, tbody, tr, td { display: block; width: 100%; } thead { display: none; }
  tr { border: 1px solid var(--line); border-radius: .3rem; margin-bottom: .6rem; padding: .35rem .6rem; }
  td { border: 0; padding: .12rem 0; display: grid; grid-template-columns: 6rem minmax(0, 1fr); gap: .5rem; }
  td.whole > div { white-space: pre-wrap; }
  td::before { content: attr(data-label); color: var(--soft); }
}
@page { size: A4; margin: 16mm 14mm; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --tint: #f5f5f5; --good: #0a4d1c;
    --good-tint: #fff; --bad: #8a0017; --bad-tint: #fff; --odd: #5c3a00; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; }
  h2 { break-after: avoid; } tr, dl > div, ol.plan li, header { break-inside: avoid; }
  thead { display: table-header-group; }
}
"""
