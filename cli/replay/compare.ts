import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { compareReports, type NamedReport, renderComparison } from '../../sim/report/compare.ts';
import { parseReportJson } from '../../sim/report/report-json.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { outputWidth } from './output.ts';
import { compareSettings } from './settings.ts';

/** `stator replay compare`: reports side by side, with ratios to the first. */
export async function compareReplays(argv: readonly string[]): Promise<void> {
  const summary = 'Compares reports that --report-json wrote: every figure, and its ratio to that of the first report.';
  const command = { name: 'replay compare', settings: compareSettings, argv, summary, positional: 'REPORT REPORT …' };
  const loaded = configure(command);
  if (loaded === undefined) return;
  await runInterruptible('replay compare', async () => {
    const reports = shortNames(await Promise.all(loaded.positional.map(readReport)));
    if (loaded.settings.json) {
      const names = reports.map(({ name }) => name);
      process.stdout.write(`${JSON.stringify({ reports: names, figures: compareReports(reports) }, null, 2)}\n`);
    } else process.stdout.write(renderComparison(reports, outputWidth()));
  });
}

async function readReport(name: string): Promise<NamedReport> {
  const text = await readFile(name, 'utf8').catch((cause: unknown) => {
    throw StatorError.invalid('REPORT', `The report ${name} cannot be read.`, { cause });
  });
  return { name, report: parseReportJson(text, name) };
}

/** File names without directories, where they still differ. */
function shortNames(reports: readonly NamedReport[]): NamedReport[] {
  const short = reports.map(({ name, report }) => ({ name: basename(name), report }));
  return new Set(short.map(({ name }) => name)).size === reports.length ? short : [...reports];
}
