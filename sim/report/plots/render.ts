import type { Figure, Panel } from './figure.ts';
import { type Area, bottomAxis, leftAxisWidth } from './frame.ts';
import { drawHeat, heatLegend, heatNamesWidth, heatRowHeight } from './heat-panel.ts';
import { type LegendEntry, legend, legendHeight } from './legend.ts';
import { drawLines } from './line-panel.ts';
import { drawScatter } from './scatter-panel.ts';
import { element, escapeText, fitted, text } from './svg.ts';
import { fontSizes, styleSheet, type Theme } from './theme.ts';

const width = 820;
const margin = 24;
const titleHeight = 62;
const panelTitleHeight = 24;
const axisHeight = 46;
const panelGap = 22;
/** Keeps the topmost tick clear of what is above. */
const areaGap = 10;
const heatKeyHeight = 16;

/** A figure as an SVG document. */
export function renderSvg(figure: Figure, theme: Theme): string {
  const left = margin + Math.max(...figure.panels.map(leftWidth));
  const right = width - margin;
  const parts: string[] = [];
  let top = titleHeight;
  for (const [at, panel] of figure.panels.entries()) {
    const entries = legendEntries(panel);
    // Panels of the same lines share the legend of the first.
    const shared = at > 0 && sameLegend(entries, legendEntries(figure.panels[at - 1]));
    const legendTop = top + panelTitleHeight;
    const areaTop = legendTop + (shared ? 0 : keyHeight(panel, entries, right - margin)) + areaGap;
    const area = { left, right, top: areaTop, bottom: areaTop + panelHeight(panel, figure.panels.length) };
    const last = at === figure.panels.length - 1;
    parts.push(text(fitted(panel.title, fontSizes.panel, right - margin), { x: margin, y: top + 14, class: 'panel' }));
    if (!shared) parts.push(...legend(entries, margin, legendTop - 2, right - margin));
    parts.push(...drawPanel(panel, area, legendTop));
    parts.push(...bottomAxis(last ? panel.x : { ...panel.x, label: '' }, area));
    top = area.bottom + (last ? axisHeight : panelGap + 18);
  }
  return document(figure, theme, top + 6, parts);
}

function document(
  { title, subtitle, description }: Figure,
  theme: Theme,
  height: number,
  parts: readonly string[],
): string {
  const head = [
    element('title', {}, [escapeText(title)]),
    element('desc', {}, [escapeText(description)]),
    element('style', {}, [styleSheet(theme)]),
    element('rect', { class: 'paper', width, height }),
    text(fitted(title, fontSizes.title, width - 2 * margin), { x: margin, y: 30, class: 'title' }),
    text(fitted(subtitle, fontSizes.subtitle, width - 2 * margin), { x: margin, y: 50, class: 'subtitle' }),
  ];
  const root = {
    xmlns: 'http://www.w3.org/2000/svg',
    viewBox: `0 0 ${width} ${Math.ceil(height)}`,
    width,
    height: Math.ceil(height),
    role: 'img',
  };
  return `${element('svg', root, [...head, ...parts])}\n`;
}

function drawPanel(panel: Panel, area: Area, keyTop: number): string[] {
  if (panel.kind === 'lines') return drawLines(panel, area);
  if (panel.kind === 'scatter') return drawScatter(panel, area);
  return [...heatLegend(panel, margin, keyTop), ...drawHeat(panel, area)];
}

function leftWidth(panel: Panel): number {
  return panel.kind === 'heat' ? heatNamesWidth(panel) : leftAxisWidth(panel.y, panelHeight(panel, 1));
}

function panelHeight(panel: Panel, panels: number): number {
  if (panel.kind === 'heat') return heatRowHeight(panel.rows.length) * Math.max(1, panel.rows.length);
  if (panel.kind === 'scatter') return 380;
  return panels > 2 ? 150 : 190;
}

function keyHeight(panel: Panel, entries: readonly LegendEntry[], room: number): number {
  return panel.kind === 'heat' ? heatKeyHeight : legendHeight(entries, room);
}

function legendEntries(panel: Panel | undefined): LegendEntry[] {
  if (panel === undefined || panel.kind === 'heat') return [];
  if (panel.kind === 'lines') {
    const lines: LegendEntry[] = panel.lines.map(({ name, tone }) => ({ name, tone, mark: 'line' }));
    return panel.reference === undefined
      ? lines
      : [...lines, { name: panel.reference.label, tone: 'blue', mark: 'reference' }];
  }
  return panel.series.map(({ name, tone }) => ({ name, tone, mark: 'dot' }));
}

function sameLegend(a: readonly LegendEntry[], b: readonly LegendEntry[]): boolean {
  return (
    a.length > 0 &&
    a.length === b.length &&
    a.every(({ name, tone }, at) => b[at]?.name === name && b[at]?.tone === tone)
  );
}
