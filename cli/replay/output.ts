import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import type { Figure } from '#sim/report/plots/figure.ts';
import { renderPage } from '#sim/report/plots/html.ts';
import { renderSvg } from '#sim/report/plots/render.ts';
import type { PlotSettings, ReplaySettings } from './settings.ts';

/** What a replay leaves behind. */
export interface ReplayOutput {
  readonly title: string;
  /** The table in lines of that many characters. */
  table(width: number): string;
  readonly figures: readonly Figure[];
}

/** Prints the table, or the JSON where it goes to standard output, and writes the files that were asked for. */
export async function writeOutput(output: ReplayOutput, json: string, settings: ReplaySettings): Promise<void> {
  const { reportJson } = settings;
  process.stdout.write(reportJson === '-' ? json : output.table(outputWidth()));
  if (reportJson !== undefined && reportJson !== '-') await written(reportJson, json);
  await writePlots(output, settings);
}

/** Characters that fit beside the plots of a page. */
const pageWidth = 108;

/** Columns of the terminal; what is piped is not cut. */
export function outputWidth(): number {
  return process.stdout.isTTY ? Math.max(60, process.stdout.columns) : 120;
}

/** Writes the plots and their page, where a directory was named for them. */
export async function writePlots({ title, table, figures }: ReplayOutput, settings: PlotSettings): Promise<void> {
  const { plots: directory, plotFormat, theme } = settings;
  if (directory === undefined) return;
  await mkdir(directory, { recursive: true }).catch((cause: unknown) => {
    throw StatorError.invalid('--plots', `--plots: the directory ${directory} cannot be made.`, { cause });
  });
  const pages = figures.map((figure) => renderSvg(figure, theme));
  await written(join(directory, 'index.html'), renderPage(title, table(pageWidth), pages, theme));
  for (const [at, figure] of figures.entries()) {
    const file = join(directory, `${figure.name}.${plotFormat}`);
    if (plotFormat === 'svg') await written(file, pages[at] ?? '');
    else await written(file, await png(renderSvg(figure, theme === 'dark' ? 'dark' : 'light')));
  }
  process.stderr.write(`Plots: ${join(directory, 'index.html')}\n`);
}

/** The renderer is native and loaded only here. */
async function png(svg: string): Promise<Uint8Array> {
  const module = await import('#sim/report/plots/png.ts').catch((cause: unknown) => {
    throw new StatorError('unsupported', 'PNG cannot be rendered on this machine; use --plot-format svg.', { cause });
  });
  return module.renderPng(svg);
}

async function written(file: string, content: string | Uint8Array): Promise<void> {
  await writeFile(file, content).catch((cause: unknown) => {
    throw new StatorError(
      'invalid_argument',
      `${file} cannot be written: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
  });
}
