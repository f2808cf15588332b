import { type ModelSet, roleOf } from '#core/models/model-sets.ts';
import type { InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import type { ModelCard, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import type { RankSlots } from './rank-slots.ts';

/** What a worker last said of the load of a rank, in numbers that decisions reckon with. */
export interface ReportedLoad {
  readonly report: RankLoad;
  /** Sequences that run or wait. */
  readonly sequences: number;
  readonly activeBlocks: number;
  /** 0: not told. */
  readonly totalBlocks: number;
  readonly prefillTokens: number;
}

export function reportedLoad(report: RankLoad): ReportedLoad {
  return {
    report,
    sequences: report.runningSequences + report.queuedSequences,
    activeBlocks: Number(report.activeKvBlocks),
    totalBlocks: Number(report.totalKvBlocks),
    prefillTokens: Number(report.pendingPrefillTokens),
  };
}

/** What a worker last said of itself, and whether it failed a request a moment ago. */
export interface WorkerHealth {
  inhibitedUntilMs: number;
  /** By data parallel rank. */
  readonly loads: Map<number, ReportedLoad>;
}

/** A data parallel rank of a worker as one model's routing sees it: what a decision reads, without look-ups. */
export interface WorkerRank {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
  /** Its number in accounts and candidates. */
  readonly slot: number;
  readonly model: string;
  readonly state: InstanceState;
  readonly role: WorkerRole;
  readonly taints: readonly string[];
  /** Work that its device does in the time in which the slowest kind does one. */
  readonly deviceWeight: number;
  readonly adapters: ReadonlySet<string>;
  readonly blockSize: number;
  /** KV blocks by its card; 0: not told. */
  readonly cardBlocks: number;
  /** Most tokens of one pass; 0: not told. */
  readonly maxBatchedTokens: number;
  /** Whether the worker tells what it caches. */
  readonly tellsEvents: boolean;
  readonly health: WorkerHealth;
}

/** The ranks of a model's workers. */
export function ranksOf(
  set: ModelSet,
  slots: RankSlots,
  healthOf: (instanceId: bigint) => WorkerHealth | undefined,
): WorkerRank[] {
  return [...set.workers.values()].flatMap(({ instance, card }) => {
    const { instanceId, state } = instance;
    const health = healthOf(instanceId) ?? { inhibitedUntilMs: 0, loads: new Map() };
    const shared = {
      instanceId,
      model: set.name,
      state,
      role: roleOf(card),
      taints: [...card.taints, ...topologyTaints(instance.topology)],
      deviceWeight: deviceWeightOf(card),
      adapters: new Set(card.adapters.map(({ name }) => name)),
      blockSize: card.limits?.kvBlockSize ?? 0,
      cardBlocks: Number(card.limits?.kvBlocks ?? 0n),
      maxBatchedTokens: card.limits?.maxBatchedTokens ?? 0,
      tellsEvents: card.capabilities?.kvEvents ?? false,
      health,
    };
    return rankNumbers(card).map((dataParallelRank) => ({
      ...shared,
      dataParallelRank,
      slot: slots.slotOf(instanceId, dataParallelRank),
    }));
  });
}

/** Where a worker stands counts as taints, under our prefix and under the one that clients of Dynamo ask for. */
function topologyTaints(topology: Readonly<Record<string, string>>): string[] {
  return Object.entries(topology).flatMap(([domain, value]) =>
    ['stator', 'dynamo'].map((prefix) => `${prefix}.topology/${domain}=${value}`),
  );
}

/** A weight that is none counts as not told. */
function deviceWeightOf({ deviceWeight = 1 }: ModelCard): number {
  return deviceWeight > 0 && deviceWeight < Infinity ? deviceWeight : 1;
}

/** The data parallel ranks that a card stands for. */
export function rankNumbers({ parallelism }: ModelCard): number[] {
  const { data = 1, dataStartRank = 0 } = parallelism ?? {};
  return Array.from({ length: Math.max(1, data) }, (_, offset) => dataStartRank + offset);
}
