import type { Client } from '@connectrpc/connect';
import type { TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import type { Store } from '#lib/store/store.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Agents } from './agents/agents.ts';
import type { BatchRunner } from './api/batches/runner.ts';
import type { BackgroundResponses } from './api/responses/background.ts';
import type { GatewayConfig } from './config.ts';
import type { KnownServices } from './console/services.ts';
import type { Degradations } from './health/degradations.ts';
import type { RunningRequests } from './http/running-requests.ts';
import type { GatewayMetrics } from './metrics/metrics.ts';
import type { ModelCatalog } from './models/catalog.ts';
import type { PipelineParts } from './pipeline/parts.ts';
import type { RealtimeMetrics } from './realtime/metrics.ts';
import type { FlushQueue } from './sse/flush-queue.ts';
import type { RequestJournal } from './telemetry/request-journal.ts';
import type { Access } from './tenants/access.ts';
import type { WorkerPool } from './workers/worker-pool.ts';

/** What handlers may use. */
export interface GatewayContext {
  readonly config: GatewayConfig;
  readonly telemetry: Telemetry;
  readonly metrics: GatewayMetrics;
  readonly catalog: ModelCatalog;
  readonly workers: WorkerPool;
  readonly tokenizer: Client<typeof TokenizerService>;
  readonly pipeline: PipelineParts;
  readonly flushQueue: FlushQueue;
  readonly degradations: Degradations;
  readonly store: Store;
  readonly background: BackgroundResponses;
  readonly batches: BatchRunner;
  readonly access: Access;
  readonly agents: Agents;
  readonly journal: RequestJournal;
  readonly services: KnownServices;
  readonly running: RunningRequests;
  readonly realtime: RealtimeMetrics;
  /** Aborted when the gateway stops taking new requests. */
  readonly draining: AbortSignal;
}
