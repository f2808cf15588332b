/** The page's style sheet. */
export const style = `
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --good: #2a9d55; --warn: #c77700; --bad: #c0392b; --accent: #3366cc; }
* { box-sizing: border-box; }
body { margin: 0; font: 14px/1.45 system-ui, sans-serif; }
header { display: flex; gap: 1.5rem; align-items: baseline; padding: .7rem 1.2rem; border-bottom: 1px solid var(--line); flex-wrap: wrap; }
header h1 { font-size: 1.05rem; margin: 0; }
header nav { display: flex; gap: 1rem; }
a { color: var(--accent); text-decoration: none; }
a[aria-current] { font-weight: 600; text-decoration: underline; }
main { padding: 1rem 1.2rem 3rem; max-width: 90rem; }
h2 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--soft); vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .faint { opacity: .65; }
.notice { border-left: 3px solid var(--warn); padding: .3rem .8rem; margin: .5rem 0; background: var(--soft); }
meter { width: 8rem; vertical-align: middle; }
svg.topology { width: 100%; height: auto; max-height: 30rem; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
svg rect { fill: var(--soft); stroke: var(--line); }
svg rect.good { stroke: var(--good); } svg rect.bad { stroke: var(--bad); }
svg line { stroke: var(--line); }
svg .bar { fill: var(--accent); stroke: none; }
form.chat { display: grid; gap: .5rem; grid-template-columns: 1fr 1fr; }
form.chat label { display: grid; gap: .15rem; font-size: .85rem; }
form.chat .wide { grid-column: 1 / -1; }
input, select, textarea, button { font: inherit; padding: .3rem .5rem; }
textarea { min-height: 4.5rem; font-family: ui-monospace, monospace; font-size: .85rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .6rem .8rem; margin: .3rem 0; }
.message { margin: .6rem 0; } .message b { text-transform: capitalize; }
`;
