import { formatTable } from '../ui/format.ts';
import { type Change, type FailureClass, failureClasses, isRegression, type ProbeResult } from './snapshot.ts';

/** Passes of each model and parser by mode, whole and streamed alike. */
export function renderMatrix(results: readonly ProbeResult[]): string {
  const modes = [...new Set(results.map(({ mode }) => mode))];
  const rows = [...Map.groupBy(results, ({ model, parser }) => `${model}\t${parser || 'as served'}`)];
  const cells = rows.map(([name, own]) => [
    ...name.split('\t'),
    ...modes.map((mode) => cell(own.filter((one) => one.mode === mode))),
    cell(own),
  ]);
  return formatTable([['MODEL', 'PARSERS', ...modes.map((mode) => mode.toUpperCase()), 'ALL'], ...cells]);
}

/** "5/6": passes of those that could be asked for; "-": there were none. */
function cell(results: readonly ProbeResult[]): string {
  const asked = results.filter(({ outcome }) => outcome !== 'unsupported');
  if (asked.length === 0) return '-';
  return `${asked.filter(({ outcome }) => outcome === 'pass').length}/${asked.length}`;
}

/** Failures by their class, and what was refused. */
export function renderFailures(results: readonly ProbeResult[]): string {
  const lines: string[] = [];
  for (const kind of Object.keys(failureClasses) as FailureClass[]) {
    const failed = results.filter((one) => one.class === kind);
    if (failed.length > 0) lines.push(`\n${failed.length} × ${failureClasses[kind]}`, ...failed.map(line));
  }
  const refused = results.filter(({ outcome }) => outcome === 'unsupported');
  if (refused.length > 0)
    lines.push(`\n${refused.length} × not offered, by the name of the field`, ...refused.map(line));
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

export function renderChanges(changes: readonly Change[]): string {
  if (changes.length === 0) return '\nNothing changed since the baseline.\n';
  const lines = changes.map(
    (change) =>
      `${isRegression(change) ? 'worse ' : 'better'} ${change.before.outcome} → ${change.now.outcome}${line(change.now)}`,
  );
  return `\nChanged since the baseline:\n${lines.join('\n')}\n`;
}

function line({ model, parser, probe, streamed, detail }: ProbeResult): string {
  const where = [model, ...(parser === '' ? [] : [parser]), probe, streamed ? 'streamed' : 'whole'].join(' · ');
  return `  ${where}${detail === '' ? '' : `: ${detail.replaceAll('\n', '\\n')}`}`;
}
