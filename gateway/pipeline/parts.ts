import type { Client } from '@connectrpc/connect';
import type { MigrationPolicy } from '#core/migration/migration.ts';
import type { TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { MediaLoader } from '../media/media-loader.ts';
import type { RouterClient } from '../routing/router-client.ts';
import type { Tenants } from '../tenants/tenants.ts';
import type { TokenTables } from '../tokenizer/token-tables.ts';
import type { WorkerSession } from '../workers/worker-session.ts';
import type { Generation } from './generation.ts';
import type { HandoffHolders } from './handoffs.ts';
import type { Stage } from './stage.ts';

/** Counts what happens to generations. */
export interface GenerationMetrics {
  /** `added` tokens of one choice arrived in one frame. */
  tokens(generation: Generation, added: number): void;
  /** A prompt is about to be computed, by a worker apart or by one that does it all. */
  placedPrompt(generation: Generation, stage: Stage): void;
  migrated(generation: Generation, type: 'new_request' | 'ongoing_request', because: StatorError): void;
}

/** Hears of every prompt that is generated for a caller. */
export interface TurnObserver {
  /** It is about to be placed. Called as the caller whose request it is. */
  began(generation: Generation): void;
  /** Every choice has ended, whichever way; exactly once after `began`. */
  ended(generation: Generation): void;
}

/** Where sessions to workers are found. */
export interface SessionLookup {
  /** The session of an instance; throws `worker_unavailable` where there is none. */
  session(instanceId: bigint): WorkerSession;
}

/** What the pipeline uses. */
export interface PipelineParts {
  readonly tokenizer: Pick<Client<typeof TokenizerService>, 'preprocess'>;
  readonly tables: TokenTables;
  readonly media: Pick<MediaLoader, 'load'>;
  readonly router: RouterClient;
  readonly sessions: SessionLookup;
  readonly metrics: GenerationMetrics;
  readonly turns: TurnObserver;
  readonly handoffs: HandoffHolders;
  readonly tenants: Pick<Tenants, 'apply' | 'renewed' | 'limits'>;
  readonly migration: MigrationPolicy;
  /** Milliseconds that a request may wait for a worker. */
  readonly routeTimeoutMs: number;
}
