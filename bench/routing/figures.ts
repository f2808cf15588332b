import type { ReplayReport } from '#sim/report/report.ts';

interface Figure {
  readonly line: string;
  readonly unit: string;
  readonly better: 'lower' | 'higher';
  /** How far apart two sides may be that should agree, as a part. */
  readonly tolerance: number;
}

export const figures = {
  hitRate: { line: 'hit rate', unit: '% of prompt tokens', better: 'higher', tolerance: 0.05 },
  ttftP50: { line: 'TTFT p50', unit: 'ms', better: 'lower', tolerance: 0.05 },
  ttftP90: { line: 'TTFT p90', unit: 'ms', better: 'lower', tolerance: 0.05 },
  ttftP99: { line: 'TTFT p99', unit: 'ms', better: 'lower', tolerance: 0.1 },
  itlP50: { line: 'ITL p50', unit: 'ms', better: 'lower', tolerance: 0.05 },
  itlP99: { line: 'ITL p99', unit: 'ms', better: 'lower', tolerance: 0.1 },
  e2eP50: { line: 'latency p50', unit: 'ms', better: 'lower', tolerance: 0.05 },
  e2eP99: { line: 'latency p99', unit: 'ms', better: 'lower', tolerance: 0.1 },
  goodput: { line: 'goodput', unit: '% of requests', better: 'higher', tolerance: 0.05 },
  imbalance: { line: 'in flight, max/mean', unit: '-', better: 'lower', tolerance: 0.1 },
} as const satisfies Record<string, Figure>;

export type FigureName = keyof typeof figures;
export const figureNames = Object.keys(figures) as readonly FigureName[];

/** NaN: not measured. */
export type Figures = Readonly<Record<FigureName, number>>;

export function figuresOf(report: ReplayReport): Figures {
  const { timeToFirstTokenMs: ttft, interTokenLatencyMs: itl, requestLatencyMs: e2e, cache, goodput, balance } = report;
  const { sent, completed } = report.requests;
  if (completed < sent)
    throw new Error(`${sent - completed} of ${sent} requests failed: ${JSON.stringify(report.errors)}`);
  return {
    hitRate: percent(cache.tokenHitRate),
    ttftP50: ttft.p50 ?? Number.NaN,
    ttftP90: ttft.p90 ?? Number.NaN,
    ttftP99: ttft.p99 ?? Number.NaN,
    itlP50: itl.p50 ?? Number.NaN,
    itlP99: itl.p99 ?? Number.NaN,
    e2eP50: e2e.p50 ?? Number.NaN,
    e2eP99: e2e.p99 ?? Number.NaN,
    goodput: percent(goodput?.share),
    imbalance: balance[0]?.momentary.maxOverMean ?? Number.NaN,
  };
}

export function percent(share: number | null | undefined): number {
  return (share ?? Number.NaN) * 100;
}
