import type { ServiceImpl } from '@connectrpc/connect';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { KvPeerService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import type { RpcTarget } from '#lib/rpc/target.ts';
import type { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { TransferAgent } from '#lib/transfer/transfer.ts';
import type { BlockSource, TierParts } from '../tiers.ts';
import { PeerDirectory } from './directory.ts';
import { Lending } from './lending.ts';
import { peerMetrics } from './metrics.ts';
import { servePeers } from './served.ts';
import type { PeerConfig } from './settings.ts';
import { PeerSource } from './source.ts';
import { Stages } from './stages.ts';
import { OwnSummary } from './summary.ts';

export interface PeersOptions {
  readonly config: PeerConfig & { readonly findTimeoutMs: number };
  readonly parts: TierParts;
  readonly telemetry: Telemetry;
  readonly discovery: Discovery;
  readonly instanceId: bigint;
  /** How another node's block manager is reached. */
  readonly target: (instance: Instance) => RpcTarget;
  /** Started; they are closed with the rest. */
  readonly agents: readonly TransferAgent[];
  readonly bulk: Pick<BulkMemory, 'checksums'>;
  /** Where blocks on disk are loaded from; undefined: they are not lent. */
  readonly disk: () => BlockSource | undefined;
}

/** The exchange of blocks with other nodes. */
export interface Peers {
  readonly source: BlockSource;
  readonly service: ServiceImpl<typeof KvPeerService>;
  /** Ends what others have staged and what comes from them; slabs may be closed then. Idempotent. */
  stop(): Promise<void>;
}

const mib = 2 ** 20;

export function openPeers(options: PeersOptions): Peers {
  const { config, parts, telemetry, discovery, instanceId, target, agents, bulk, disk } = options;
  const metrics = peerMetrics(telemetry.metrics);
  const lending = new Lending(agents, parts.host);
  const stages = new Stages({
    manager: parts.manager,
    host: parts.host,
    maxStages: config.peerStages,
    maxBytes: config.peerStagedMib * mib,
    metrics,
  });
  const summary = new OwnSummary(parts.manager, { nowMs: parts.nowMs, maxAgeMs: config.peerSummaryMs / 2 });
  const directory = new PeerDirectory({
    ...{ telemetry, target, agents, discovery, instanceId, metrics, nowMs: parts.nowMs },
    only: config.peerTransfer === 'auto' ? undefined : config.peerTransfer,
    summaryMs: config.peerSummaryMs,
    fanout: config.peerFanout,
    probes: config.peerProbes,
  });
  const source = new PeerSource({
    ...{ parts, lending, bulk, metrics, directory },
    findMs: config.findTimeoutMs,
    loadMs: config.peerStageMs,
    maxPulls: config.peerPulls,
  });
  const service = servePeers({
    parts,
    lending,
    stages,
    summary,
    disk,
    maxStageMs: config.peerStageMs,
    wallMs: Date.now,
  });
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    directory.close();
    stages.stop();
    await lending.close();
  };
  return {
    source,
    service,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}
