"""How a report looks: on a screen that is light or dark, on a phone, on paper."""

# The numbers are those of curves.py: text, grid and axes; from 10 on, the runs.
STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --panel: #f6f7f9; --edge: #dfe2e6; --soft: #5c646e; --hit: #1a7f4b;
  --c1: #1f2328; --c2: #e3e6ea; --c3: #828a94;
  --c10: #1f6fb4; --c11: #c8571b; --c12: #2a8a57; --c13: #7d4bc0; --c14: #b3364a; --c15: #0e7f86; }
@media (prefers-color-scheme: dark) { :root {
  --page: #16181c; --panel: #1f2227; --edge: #343941; --soft: #a3abb5; --hit: #67cf98;
  --c1: #e4e7eb; --c2: #30353c; --c3: #868e98;
  --c10: #6db3ee; --c11: #f09a5e; --c12: #6ac793; --c13: #b795f3; --c14: #f28a97; --c15: #5cced4; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 76rem; background: var(--page);
  color: var(--c1); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: .95rem; margin: 0; font-weight: 600; }
p { margin: .25rem 0; }
.soft, figcaption p { color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.tiles { display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(45%, 16rem), 1fr));
  margin: 1.25rem 0 0; padding: 0; list-style: none; }
.tiles li { background: var(--panel); border: 1px solid var(--edge); border-radius: .5rem;
  padding: .6rem .8rem; }
.tiles b { display: block; font-size: 1.35rem; line-height: 1.3; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.tiles span { display: block; font-size: .8rem; color: var(--soft); line-height: 1.35; }
.curves { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 0; padding: .75rem .75rem .25rem; background: var(--panel);
  border: 1px solid var(--edge); border-radius: .5rem; break-inside: avoid; }
figure svg { display: block; width: 100%; height: auto; margin-top: .25rem; }
figure svg text { font-family: inherit; }
.wide { overflow-x: auto; border: 1px solid var(--edge); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .75rem; font-weight: 400;
  border-bottom: 1px solid var(--edge); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); white-space: nowrap; font-weight: 600; }
tbody th { color: var(--soft); min-width: 9rem; }
td { font-variant-numeric: tabular-nums; overflow-wrap: break-word; min-width: 7rem; }
.samples tbody th { color: inherit; min-width: 14rem; max-width: 24rem; }
.samples td { white-space: nowrap; }
.samples small { color: var(--soft); font-size: inherit; }
.samples .hit { color: var(--hit); font-weight: 600; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0 0 .75rem; padding: 0;
  list-style: none; font-size: .875rem; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem;
  margin-right: .4rem; vertical-align: -.05rem; }
details { margin-top: 1rem; border: 1px solid var(--edge); border-radius: .5rem; }
summary { padding: .5rem .8rem; cursor: pointer; }
pre { margin: 0; padding: .5rem .8rem .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.45; }
@media (max-width: 40rem) { .samples tbody th { min-width: 11rem; } }
@media print { :root { color-scheme: light;
    --page: #fff; --panel: #fff; --edge: #ccc; --soft: #444; --hit: #1a7f4b;
    --c1: #000; --c2: #ddd; --c3: #666; --c10: #1f6fb4; --c11: #c8571b; --c12: #2a8a57;
    --c13: #7d4bc0; --c14: #b3364a; --c15: #0e7f86; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  .curves { grid-template-columns: 1fr 1fr; } .wide { overflow: visible; }
  .samples td { white-space: normal; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""
N_COLORS = 6  # --c10 to --c15
