import { basename } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { compareReports, type NamedReport, renderComparison } from '#sim/report/compare.ts';
import type { ReplayDocument } from '#sim/report/report-json.ts';
import { type NamedSweep, renderSweepComparison, sweepFigure } from '#sim/report/sweep.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { readDocument } from './documents.ts';
import { outputWidth, writePlots } from './output.ts';
import { compareSettings, type PlotSettings } from './settings.ts';

/** `stator replay compare`: reports side by side, with ratios to the first; or sweeps over the same setting. */
export async function compareReplays(argv: readonly string[]): Promise<void> {
  const summary =
    'Compares what --report-json wrote: every figure of reports and its ratio to the first report; of sweeps the values side by side, with --plots in one plot.';
  const command = { name: 'replay compare', settings: compareSettings, argv, summary, positional: 'REPORT REPORT …' };
  const loaded = configure(command);
  if (loaded === undefined) return;
  await runInterruptible('replay compare', async () => {
    const documents = await Promise.all(loaded.positional.map(readDocument));
    const names = shortNames(loaded.positional);
    const named = documents.map((document, at) => ({ name: names[at] ?? '', document }));
    if (documents.some(({ kind }) => kind === 'sweep')) await compareSweeps(sweepsOf(named), loaded.settings);
    else printReports(reportsOf(named), loaded.settings);
  });
}

interface Named {
  readonly name: string;
  readonly document: ReplayDocument;
}

function printReports(
  reports: readonly NamedReport[],
  { json, plots }: { readonly json: boolean } & PlotSettings,
): void {
  if (plots !== undefined)
    throw StatorError.invalid(
      '--plots',
      '--plots: only sweeps have a plot in common; of a report: stator replay show.',
    );
  const names = reports.map(({ name }) => name);
  if (json) process.stdout.write(`${JSON.stringify({ reports: names, figures: compareReports(reports) }, null, 2)}\n`);
  else process.stdout.write(renderComparison(reports, outputWidth()));
}

async function compareSweeps(
  sweeps: readonly NamedSweep[],
  settings: { readonly json: boolean } & PlotSettings,
): Promise<void> {
  if (settings.json) throw StatorError.invalid('--json', '--json: sweeps are JSON already, value by value.');
  const table = (width: number): string => renderSweepComparison(sweeps, width);
  process.stdout.write(table(outputWidth()));
  const title = `Sweeps over ${sweeps[0]?.sweep.over}`;
  await writePlots({ title, table, figures: [sweepFigure(sweeps)] }, settings);
}

function reportsOf(named: readonly Named[]): NamedReport[] {
  return named.flatMap(({ name, document }) => (document.kind === 'report' ? [{ name, report: document.report }] : []));
}

function sweepsOf(named: readonly Named[]): NamedSweep[] {
  const sweeps = named.flatMap(({ name, document }) =>
    document.kind === 'sweep' ? [{ name, sweep: document.sweep }] : [],
  );
  const settings = new Set(sweeps.map(({ sweep }) => sweep.over));
  if (sweeps.length < named.length || settings.size > 1)
    throw StatorError.invalid('REPORT', 'Only reports, or only sweeps over the same setting, can be compared.');
  return sweeps;
}

/** File names without directories and ending, where they still differ. */
function shortNames(files: readonly string[]): readonly string[] {
  const short = files.map((file) => basename(file, '.json'));
  return new Set(short).size === files.length ? short : files;
}
