/** The style of the live page, for a light and a dark screen. */
export const PAGE_STYLE = `
:root {
  --back: #fbfbfa; --card: #ffffff; --text: #1d1f21; --soft: #5c6166; --line: #d9dbdd;
  --own: #b4530a; --common: #2f6f9f; --good: #1f7a3d; --busy: #8a5a00; --bad: #b3261e; --focus: #1a5fd0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #16181a; --card: #1f2225; --text: #e8e9ea; --soft: #a5abb1; --line: #383c41;
    --own: #f0a35e; --common: #7db8e0; --good: #7cc894; --busy: #e3b65a; --bad: #f08c85; --focus: #8ab4f8;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
header p { margin: 0; color: var(--soft); }
#about { flex: 1; overflow-wrap: anywhere; }
.hint { margin: 0 0 .5rem; color: var(--soft); font-size: .875rem; }
.figures dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 0; }
.figures div, #forks, .scroll { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.figures div { padding: .6rem .8rem; }
dt { color: var(--soft); font-size: .8125rem; }
dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .75rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
th { font-weight: 600; font-size: .8125rem; color: var(--soft); }
.number { text-align: right; }
.key { display: inline-block; width: .7em; height: .7em; border-radius: 2px; }
.own { background: var(--own); } .common { background: var(--common); }
.bar { display: flex; width: 11rem; height: .6rem; border-radius: 3px; overflow: hidden; background: var(--line); }
.memory { display: flex; align-items: center; gap: .6rem; }
[data-state]::before { content: ""; display: inline-block; width: .55em; height: .55em; margin-right: .45em; border-radius: 50%; background: var(--busy); }
[data-state=ready]::before { background: var(--good); }
[data-state=ending]::before { background: var(--bad); }
ul { list-style: none; margin: 0; padding: 0; }
#forks { padding: .5rem .75rem; overflow-x: auto; }
#forks ul { margin-left: .55rem; padding-left: 1rem; border-left: 1px solid var(--line); }
.label { display: inline-block; padding: .1rem .35rem; border-radius: .3rem; white-space: nowrap; }
.gone > .label { color: var(--soft); }
.current > .label { font-weight: 600; }
[role=treeitem]:focus { outline: none; }
[role=treeitem]:focus-visible > .label, a:focus-visible, .scroll:focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
#connection[data-lost=true] { color: var(--bad); }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--card); padding: .25rem .5rem; }
`;
