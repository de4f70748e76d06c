"""The look of every page that this project makes: light, dark and print, nothing from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d5dae0;
  --page: #ffffff; --panel: #f6f8fa; --best: #dff3e4; --warn: #fff4d6; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa4af; --line: #353c45;
  --page: #14181d; --panel: #1c2229; --best: #173a26; --warn: #41350f; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 76rem; color: var(--ink);
  background: var(--page); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem;
  padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .4rem 0; max-width: 60rem; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.note { background: var(--warn); border-radius: .4rem; padding: .45rem .8rem; margin: .4rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
  margin: .5rem 0; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; border-bottom-width: 2px; }
th.text, td.text { text-align: left; }
tr.best td { background: var(--best); font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr));
  gap: 1.2rem; }
figure { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem; break-inside: avoid; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .85rem; padding: .2rem .4rem; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
code { font-size: .85em; }
@media print { body { max-width: none; padding: 0; font-size: 11px; }
  .figures { grid-template-columns: 1fr 1fr; } tr { break-inside: avoid; }
  h2 { break-after: avoid; } .wide { overflow: visible; } }
"""
