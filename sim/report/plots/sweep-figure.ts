import { axisFromZero } from './axes.ts';
import type { Figure, ScatterPanel } from './figure.ts';
import { seriesTones } from './theme.ts';

/** What a deployment gives at one load. */
export interface ParetoPoint {
  readonly outputTokensPerSecondPerUser: number;
  readonly outputTokensPerSecondPerWorker: number;
  /** For example the concurrency. */
  readonly label: string;
}

export interface ParetoSeries {
  readonly name: string;
  readonly points: readonly ParetoPoint[];
}

/** What users feel against what workers deliver, over the load: further up and further right is better. */
export function paretoFigure(series: readonly ParetoSeries[], over: string, subtitle: string): Figure {
  const points = series.flatMap((each) => each.points);
  const panel: ScatterPanel = {
    kind: 'scatter',
    title: 'Output tokens per second and worker · up and right is better',
    x: axisFromZero(
      'Output tokens per second and user (mean of requests)',
      Math.max(0, ...points.map((point) => point.outputTokensPerSecondPerUser)),
      10,
    ),
    y: axisFromZero('', Math.max(0, ...points.map((point) => point.outputTokensPerSecondPerWorker))),
    series: series.slice(0, seriesTones.length).map(({ name, points: own }, at) => ({
      name,
      tone: seriesTones[at] ?? 'blue',
      points: own.map((point) => ({
        x: point.outputTokensPerSecondPerUser,
        y: point.outputTokensPerSecondPerWorker,
        label: point.label,
      })),
    })),
  };
  return {
    name: 'pareto',
    title: 'Throughput of a worker against speed for a user',
    subtitle: `${subtitle} · numbers: ${over}`,
    description: `Output tokens a second of each worker against those of each user, for each ${over}.`,
    panels: [panel],
  };
}
