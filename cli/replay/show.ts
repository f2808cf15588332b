import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { reportFigures } from '#sim/report/plots/report-figures.ts';
import type { ReplayReport } from '#sim/report/report.ts';
import { renderSweepTable, type SweepReport, sweepFigure } from '#sim/report/sweep.ts';
import { renderTable } from '#sim/report/table.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { readDocument } from './documents.ts';
import { outputWidth, type ReplayOutput, writePlots } from './output.ts';
import { showSettings } from './settings.ts';

/** `stator replay show`: the table, and with --plots the plots, of a report that was written before. */
export async function showReplay(argv: readonly string[]): Promise<void> {
  const summary = 'Shows a report that --report-json wrote: its table, and with --plots its plots.';
  const loaded = configure({ name: 'replay show', settings: showSettings, argv, summary, positional: 'REPORT' });
  if (loaded === undefined) return;
  await runInterruptible('replay show', async () => {
    const [name, ...more] = loaded.positional;
    if (name === undefined || more.length > 0) throw StatorError.invalid('REPORT', 'Name one report.');
    const document = await readDocument(name);
    const output = document.kind === 'report' ? reportOutput(document.report) : sweepOutput(document.sweep);
    process.stdout.write(output.table(outputWidth()));
    await writePlots(output, loaded.settings);
  });
}

export function reportOutput(report: ReplayReport): ReplayOutput {
  return {
    title: `Replay of ${report.run.trace}`,
    table: (width) => renderTable(report, width),
    figures: reportFigures(report),
  };
}

export function sweepOutput(sweep: SweepReport): ReplayOutput {
  const name = sweep.points[0]?.report.run.routerMode ?? '';
  return {
    title: `Sweep over ${sweep.over}`,
    table: (width) => renderSweepTable(sweep, width),
    figures: [sweepFigure([{ name, sweep }])],
  };
}
