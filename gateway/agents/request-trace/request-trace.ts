import type { Logger } from 'pino';
import type { Generation } from '../../pipeline/generation.ts';
import type { AgentMetrics } from '../metrics.ts';
import type { SessionNaming } from '../redact.ts';
import { isReplayable, requestRecord, type ToolEvent, toolRecord } from './records.ts';
import { RotatingLines } from './rotating-lines.ts';

export interface RequestTraceOptions {
  readonly file: string;
  readonly maxWaiting: number;
  readonly maxBytes: number;
  readonly maxFiles: number;
  readonly naming: SessionNaming;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

/** Where records of requests and tools go. */
export interface TraceSink {
  request(generation: Generation): void;
  tool(event: ToolEvent): void;
  close(): Promise<void>;
}

/** Nobody wants any. */
export const noTrace: TraceSink = { request: () => {}, tool: () => {}, close: async () => {} };

/** A file of records, one JSON line each, in the form that replay reads. Throws `invalid_argument` for one that cannot be written. */
export function openRequestTrace(o: RequestTraceOptions): TraceSink {
  const { naming, metrics } = o;
  const lines = new RotatingLines({ ...o, onLost: (why, count) => metrics.recordsLost(why, count) });
  const startMs = performance.now();
  const write = (event: string, json: string): void => {
    metrics.record(event);
    lines.push(`{"timestamp":${Math.round(performance.now() - startMs)},"event":${json}}`);
  };
  return {
    request(generation) {
      if (!isReplayable(generation)) {
        metrics.recordsLost('not_replayable', 1);
        return;
      }
      const { event, json } = requestRecord(generation, naming);
      write(event, json);
    },
    tool: (event) => write(event.type, toolRecord(event, naming)),
    close: () => lines.close(),
  };
}
