import { Resvg } from '@resvg/resvg-js';

/** An SVG of the light or the dark theme as PNG, with twice its pixels. Text needs a font of the machine. */
export function renderPng(svg: string): Uint8Array {
  const font = { loadSystemFonts: true, defaultFontFamily: 'DejaVu Sans' };
  return new Resvg(svg, { fitTo: { mode: 'zoom', value: 2 }, font }).render().asPng();
}
