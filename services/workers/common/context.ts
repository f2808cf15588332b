import type { SessionServer } from '#lib/rpc/session/server.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { WorkerConfig } from './config.ts';
import type { Drainer } from './drain.ts';
import type { WorkerModels } from './models.ts';
import type { WorkerState } from './state.ts';

/** What a handler may use. */
export interface WorkerContext {
  readonly config: WorkerConfig;
  readonly telemetry: Telemetry;
  readonly models: WorkerModels;
  readonly sessions: SessionServer;
  readonly state: WorkerState;
  readonly drainer: Drainer;
  /** Aborts when the worker stops; long streams end with it. */
  readonly closing: AbortSignal;
}
