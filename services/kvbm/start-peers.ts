import { StatorError } from '#lib/errors/errors.ts';
import { isLoopback } from '#lib/rpc/address.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { serverSecurity, targetOf } from '#lib/service/security.ts';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { transferMetrics } from '#lib/transfer/metrics.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import type { KvbmConfig } from './config.ts';
import { startTransferAgents } from './peers/agents.ts';
import { openPeers, type Peers } from './peers/open.ts';
import type { BlockSource, TierParts } from './tiers.ts';

/** The exchange with other nodes; undefined where it is switched off. Throws StatorError for settings that lend to strangers. */
export async function startPeers(
  config: KvbmConfig,
  { telemetry, discovery, instanceId }: ServiceParts,
  parts: TierParts,
  disk: BlockSource | undefined,
): Promise<Peers | undefined> {
  if (!config.peers) return undefined;
  const { peerTransfer, peerTransferHost: host, nixlLibrary, internalToken: secret, tlsCa } = config;
  const { tls } = serverSecurity(config);
  if (!isLoopback(host) && secret === undefined && (tls === undefined || tlsCa === undefined))
    throw StatorError.invalid(
      'peerTransferHost',
      `Blocks that are lent on ${host} need internalToken, or tlsCert, tlsKey and tlsCa.`,
    );
  const agents = await startTransferAgents({
    name: `kvbm-${instanceId.toString(16)}`,
    only: peerTransfer === 'auto' ? undefined : peerTransfer,
    nixlLibrary,
    host,
    log: telemetry.log,
    metrics: transferMetrics(telemetry.metrics),
    ...(secret === undefined ? {} : { secret }),
    ...(tls === undefined ? {} : { tls: { server: tls, client: tls } }),
  });
  return openPeers({
    config,
    parts,
    telemetry,
    discovery,
    instanceId,
    target: (instance) => targetOf(instance, config),
    agents,
    bulk: new BulkMemory(hostMemory()),
    disk: () => disk,
  });
}
