import { distributionFields } from './quantiles.ts';
import type { ReplayReport, ReportDistribution } from './report.ts';

/** Rows of figures in the order in which they are shown. */
const latencyRows = [
  ['Time to first token (ms)', 'timeToFirstTokenMs'],
  ['Inter-token latency, TPOT (ms)', 'interTokenLatencyMs'],
  ['Request latency (ms)', 'requestLatencyMs'],
  ['Longest gap between tokens (ms)', 'longestGapMs'],
  ['Output tokens/s per user', 'outputTokensPerSecondPerUser'],
  ["Wait in the router's queue (ms)", 'routerWaitMs'],
  ["Wait in the engine's queue (ms)", 'engineWaitMs'],
  ['Prompt (tokens)', 'promptTokens'],
  ['Output (tokens)', 'outputTokens'],
] as const satisfies readonly (readonly [string, keyof ReplayReport])[];

/** Figures that a narrow terminal does without, in this order. */
const expendableFigures = ['p75', 'p95', 'min', 'max', 'p90', 'avg'];

/** Workers of which each has a row of its own; of more only the extremes. */
const mostWorkerRows = 16;

/** The report for people, in lines no wider than `width` characters where that is possible. */
export function renderTable(report: ReplayReport, width = 100): string {
  const sections = [
    heading(report),
    frame(latencyTable(report), width, expendableFigures),
    summary(report, width),
    workerTable(report, width),
    errorLines(report),
  ];
  return `${sections.filter((text) => text !== '').join('\n\n')}\n`;
}

function heading({ run, requests, durationMs }: ReplayReport): string {
  const time = run.time === 'virtual' ? 'virtual time' : 'live deployment';
  const partial = run.partial ? ' · interrupted' : '';
  const lost = requests.rejected + requests.failed;
  return [
    `Replay of ${run.trace} · ${time} · router ${run.routerMode} · seed ${run.seed}${partial}`,
    `${integer(requests.completed)} of ${integer(requests.sent)} requests completed in ${duration(durationMs)}` +
      (lost === 0 ? '' : ` · ${integer(requests.rejected)} rejected, ${integer(requests.failed)} failed`) +
      (requests.sampled < requests.sent ? ` · percentiles of a sample of ${integer(requests.sampled)}` : ''),
  ].join('\n');
}

function latencyTable(report: ReplayReport): string[][] {
  const rows = latencyRows
    .map(([label, name]) => [label, report[name]] as const)
    .filter(([, { count }]) => count > 0)
    .map(([label, figures]) => [label, ...figureCells(figures)]);
  return [['', ...distributionFields], ...rows];
}

function figureCells(figures: ReportDistribution): string[] {
  return distributionFields.map((field) => decimal(figures[field]));
}

function summary(report: ReplayReport, width: number): string {
  const { throughput, cache, goodput, preemptions, balance } = report;
  const facts: [string, string][] = [
    ['Request throughput', `${decimal(throughput.requestsPerSecond)} requests/s`],
    ['Input token throughput', `${decimal(throughput.inputTokensPerSecond)} tokens/s`],
    [
      'Output token throughput',
      `${decimal(throughput.outputTokensPerSecond)} tokens/s, ${decimal(throughput.outputTokensPerSecondPerWorker)} per worker`,
    ],
    ['Requests in flight', `${decimal(throughput.meanInFlight)} on average`],
    ['Prefix cache hit rate', hitRate(cache)],
  ];
  if (goodput !== null) facts.push([`Goodput (${bounds(goodput)})`, goodputText(goodput)]);
  for (const { role, workers, momentary, prefillTokens, outputTokens } of balance) {
    if (workers < 2) continue;
    const load = role === 'prefill' ? prefillTokens : outputTokens;
    const what = role === 'prefill' ? 'tokens prefilled' : 'output tokens';
    facts.push([
      `Imbalance of ${workers} ${role} workers`,
      `${what}: max/mean ${decimal(load.maxOverMean)}, variation ${decimal(load.variation)}; ` +
        `in flight at each moment: ${decimal(momentary.maxOverMean)}, ${decimal(momentary.variation)}`,
    ]);
  }
  if (preemptions > 0) facts.push(['Preemptions', integer(preemptions)]);
  const widest = Math.max(...facts.map(([label]) => label.length));
  return facts
    .flatMap(([label, text]) =>
      wrapped(text, width - widest - 3).map((line, at) => `${(at === 0 ? label : '').padEnd(widest)}   ${line}`),
    )
    .join('\n');
}

function hitRate({ tokenHitRate, blockHitRate }: ReplayReport['cache']): string {
  const blocks = blockHitRate === null ? '' : `, ${percent(blockHitRate)} of blocks`;
  return `${percent(tokenHitRate)} of prompt tokens${blocks}`;
}

function bounds({
  timeToFirstTokenMs,
  interTokenLatencyMs,
  requestLatencyMs,
}: NonNullable<ReplayReport['goodput']>): string {
  const parts = [
    timeToFirstTokenMs === null ? '' : `TTFT ≤ ${timeToFirstTokenMs} ms`,
    interTokenLatencyMs === null ? '' : `ITL ≤ ${interTokenLatencyMs} ms`,
    requestLatencyMs === null ? '' : `latency ≤ ${requestLatencyMs} ms`,
  ];
  return parts.filter((part) => part !== '').join(', ');
}

function goodputText({
  requestsPerSecond,
  share,
  outputTokensPerSecond,
}: NonNullable<ReplayReport['goodput']>): string {
  return `${decimal(requestsPerSecond)} requests/s (${percent(share)} of those sent), ${decimal(outputTokensPerSecond)} tokens/s`;
}

function workerTable({ workers, throughput, durationMs }: ReplayReport, width: number): string {
  if (workers.length < 2 || throughput.requestsPerSecond === null) return '';
  const seconds = (durationMs ?? 0) / 1000;
  const ordered = [...workers].sort((a, b) => b.requests - a.requests);
  const half = mostWorkerRows / 2;
  const shown = workers.length > mostWorkerRows ? [...ordered.slice(0, half), ...ordered.slice(-half)] : workers;
  const rows = shown.map(
    ({ name, role, requests, promptTokens, cachedTokens, outputTokens, running, waiting, usedBlocks }) => [
      role === 'aggregated' || name.startsWith(role) ? name : `${name} (${role})`,
      integer(requests),
      decimal(outputTokens / seconds),
      percent(promptTokens === 0 ? null : cachedTokens / promptTokens),
      decimal(running),
      decimal(waiting),
      percent(usedBlocks),
    ],
  );
  const head = ['Worker', 'requests', 'output tokens/s', 'hit rate', 'running', 'waiting', 'KV used'];
  const note =
    shown === workers
      ? ''
      : `\n${workers.length - mostWorkerRows} workers between the busiest and the idlest are not shown.`;
  return frame([head, ...rows], width) + note;
}

function errorLines({ errors }: ReplayReport): string {
  if (errors.length === 0) return '';
  const widest = Math.max(...errors.map(({ count }) => integer(count).length));
  return ['Errors', ...errors.map(({ code, count }) => `  ${integer(count).padStart(widest)}  ${code}`)].join('\n');
}

/**
 * A table with a rule below its head; numbers to the right. Where the width is too small, first the columns go whose heads
 * `expendable` names, in its order, then those on the right.
 */
export function frame(rows: readonly (readonly string[])[], width: number, expendable: readonly string[] = []): string {
  const head = rows[0] ?? [];
  const widths = head.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  let shown = head.map((_, at) => at);
  const total = (): number => shown.reduce((sum, at) => sum + (widths[at] ?? 0) + 2, -2);
  const goes = [...expendable.map((name) => head.indexOf(name)), ...head.map((_, at) => at).reverse()];
  for (const column of goes) {
    if (total() <= width || shown.length <= 2) break;
    if (column > 0) shown = shown.filter((at) => at !== column);
  }
  const [top = '', ...body] = rows.map((row) =>
    shown
      .map((at) => (at === 0 ? (row[at] ?? '').padEnd(widths[at] ?? 0) : (row[at] ?? '').padStart(widths[at] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
  return [top, '─'.repeat(total()), ...body].join('\n');
}

/** Words in lines of at most `width` characters. */
function wrapped(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}

/** 1234.5 → "1,234.50"; what was not measured is a dash. */
export function decimal(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return '–';
  return grouped(value.toFixed(2));
}

export function integer(value: number): string {
  return grouped(String(value));
}

export function percent(share: number | null): string {
  return share === null || !Number.isFinite(share) ? '–' : `${(share * 100).toFixed(1)} %`;
}

export function duration(ms: number | null): string {
  return ms === null ? '–' : `${decimal(ms / 1000)} s`;
}

function grouped(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}
