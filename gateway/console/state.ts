import { roleName } from '#core/models/role-names.ts';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import { figuresOf } from '../agents/session-book.ts';
import { type ShownSession, shownSession } from '../agents/shown-session.ts';
import type { GatewayContext } from '../context.ts';
import type { RequestLife } from '../telemetry/request-journal.ts';
import type { ShownService, ShownTier } from './services.ts';

export interface ShownLoad {
  readonly running: number;
  readonly queued: number;
  readonly active_blocks: number;
  readonly cached_blocks: number;
  readonly total_blocks: number;
  readonly pending_prefill_tokens: number;
}

export interface ShownWorker {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly session: 'ready' | 'connecting';
  readonly models: readonly string[];
  readonly role: string;
  readonly engine: string;
  /** null: it did not answer in time. */
  readonly load: ShownLoad | null;
}

export interface ShownModel {
  readonly name: string;
  readonly ready: boolean;
  readonly workers: number;
  readonly context_length: number;
  readonly kv_block_size: number;
  readonly adapters: readonly string[];
}

/** Everything that the console shows, at one moment. */
export interface ConsoleState {
  readonly now_unix_ms: number;
  readonly draining: boolean;
  readonly degradations: readonly { readonly kind: string; readonly message: string }[];
  readonly models: readonly ShownModel[];
  readonly workers: readonly ShownWorker[];
  readonly services: readonly ShownService[];
  readonly tiers: readonly ShownTier[];
  readonly requests: readonly RequestLife[];
  /** Sessions of agents, the one used last first; no more than the page shows. */
  readonly sessions: readonly ShownSession[];
  readonly totals: {
    readonly running: number;
    readonly sequences: number;
    /** Over the requests shown: share of prompt tokens that were cached; null: there were none. */
    readonly hit_rate: number | null;
  };
}

/** Milliseconds that a worker may take to tell its load. */
const loadTimeoutMs = 1000;
/** Sessions that the page shows. */
const shownSessions = 50;

export async function consoleState(ctx: GatewayContext): Promise<ConsoleState> {
  const { agents, catalog, degradations, draining, journal, services, workers } = ctx;
  const [shownWorkers, tiers] = await Promise.all([
    Promise.all(workers.instances().map((instance) => workerOf(ctx, instance))),
    services.tiers(),
  ]);
  const requests = journal.lives();
  return {
    now_unix_ms: Date.now(),
    draining: draining.aborted,
    degradations: degradations.current().map((kind) => ({ kind, message: degradations.describe(kind) })),
    models: catalog.entries().map((entry) => ({
      name: entry.name,
      ready: catalog.isReady(entry),
      workers: entry.workers.size,
      context_length: entry.card.limits?.contextLength ?? 0,
      kv_block_size: entry.card.limits?.kvBlockSize ?? 0,
      adapters: entry.card.adapters.map(({ name }) => name),
    })),
    workers: shownWorkers,
    services: services.shown(),
    tiers,
    requests,
    sessions: agents.accounts
      .list(null, shownSessions)
      .map((account) => shownSession(figuresOf(account, agents.naming))),
    totals: { running: journal.running, sequences: workers.inFlight, hit_rate: hitRate(requests) },
  };
}

async function workerOf({ workers }: GatewayContext, instance: Instance): Promise<ShownWorker> {
  const { instanceId: id, name, address, cards } = instance;
  const isReady = workers.isAlive(id);
  const load = isReady ? await loadOf(() => workers.client(id).getLoad({}, { timeoutMs: loadTimeoutMs })) : null;
  const [card] = cards;
  return {
    id: id.toString(),
    name,
    address,
    session: isReady ? 'ready' : 'connecting',
    models: cards.map((one) => one.name),
    role: card === undefined ? '' : roleName(card.role),
    engine: card?.engine ?? '',
    load,
  };
}

async function loadOf(ask: () => Promise<{ load?: { ranks: RankLoad[] } | undefined }>): Promise<ShownLoad | null> {
  try {
    const { load } = await ask();
    return sumOf(load?.ranks ?? []);
  } catch {
    // It may be leaving, or too busy: the page says that nothing is known.
    return null;
  }
}

function sumOf(ranks: readonly RankLoad[]): ShownLoad {
  const sum = (of: (rank: RankLoad) => number | bigint): number =>
    ranks.reduce((total, rank) => total + Number(of(rank)), 0);
  return {
    running: sum((rank) => rank.runningSequences),
    queued: sum((rank) => rank.queuedSequences),
    active_blocks: sum((rank) => rank.activeKvBlocks),
    cached_blocks: sum((rank) => rank.cachedKvBlocks),
    total_blocks: sum((rank) => rank.totalKvBlocks),
    pending_prefill_tokens: sum((rank) => rank.pendingPrefillTokens),
  };
}

function hitRate(requests: readonly RequestLife[]): number | null {
  const prompts = requests.flatMap((request) => request.prompts);
  const total = prompts.reduce((sum, prompt) => sum + prompt.prompt_tokens, 0);
  return total === 0 ? null : prompts.reduce((sum, prompt) => sum + prompt.cached_tokens, 0) / total;
}
