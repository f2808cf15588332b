import { readFile, statfs } from 'node:fs/promises';
import { type Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { KvBlockService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { formatBytes } from '../ui/format.ts';
import { discoveriesOfRuns } from '../up/run-directory.ts';
import { type Finding, guarded, ok, type Section, warn } from './check.ts';

const DISCOVERY_MS = 5000;
const ANSWER_MS = 2000;

/** What KV beyond the engines needs, and what the block managers that run here say. */
export async function kvSection(discovery: string): Promise<Section> {
  const findings = await Promise.all([
    guarded('room for KV', roomForKv),
    guarded('huge pages', hugePages),
    guarded('block manager', () => blockManagers(discovery)),
  ]);
  return { name: 'kv', findings };
}

async function roomForKv(): Promise<Finding> {
  const system = await statfs('/dev/shm').catch(() => undefined);
  if (system === undefined)
    return warn(
      'room for KV',
      'there is no /dev/shm',
      'Slabs lie in the cache directory then; --slab-dir names another.',
    );
  const free = system.bavail * system.bsize;
  const text = `${formatBytes(free)} of shared memory free`;
  const advice = 'stator up takes half of it at most for KV; in a container give it more (--shm-size).';
  return free < 2 ** 30 ? warn('room for KV', text, advice) : ok('room for KV', text);
}

/** Slabs lie on tmpfs, whose huge pages are switched by a file of their own. */
async function hugePages(): Promise<Finding> {
  const text = await readFile('/sys/kernel/mm/transparent_hugepage/shmem_enabled', 'utf8').catch(() => '');
  const mode = /\[(\w+)\]/.exec(text)?.[1] ?? 'unknown';
  return ok(
    'huge pages',
    `for shared memory: ${mode}${mode === 'advise' || mode === 'never' ? '; tmpfs takes them only if mounted with huge=' : ''}`,
  );
}

async function blockManagers(url: string): Promise<Finding> {
  const urls = [url, ...(await discoveriesOfRuns())];
  const found = (await Promise.all(urls.map(listed))).flat();
  if (found.length === 0) return ok('block manager', 'none runs here: engines keep what fits into their own memory');
  const reports = await Promise.all(found.map(describe));
  const bad = reports.filter(({ degraded }) => degraded !== '');
  const text = reports.map(({ name, summary }) => `${name}: ${summary}`).join('; ');
  const [first] = bad;
  return first === undefined
    ? ok('block manager', text)
    : warn('block manager', text, `${first.name}: ${first.degraded}`);
}

async function describe({ name, address }: Instance): Promise<{ name: string; summary: string; degraded: string }> {
  const { client, close } = createRpcClient(KvBlockService, { address }, quietTelemetry());
  try {
    const { arenas, holders, degraded } = await client.stats({}, { timeoutMs: ANSWER_MS });
    const registered = arenas.reduce((sum, arena) => sum + arena.registered, 0n);
    const reasons = Object.entries(degraded).map(([tier, reason]) => `tier ${tier} does not work: ${reason}`);
    return { name, summary: `${holders.length} workers, ${registered} blocks`, degraded: reasons.join(', ') };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { name, summary: 'does not answer', degraded: `${address}: ${why}` };
  } finally {
    close();
  }
}

async function listed(url: string): Promise<Instance[]> {
  const discovery = await openDiscovery(url, { namespace: 'default', ttlSeconds: 5, telemetry: quietTelemetry() });
  let timer: NodeJS.Timeout | undefined;
  try {
    const watch = discovery.watch(ServiceKind.KVBM);
    // The timer keeps the process alive: where discovery does not answer, nothing else does.
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, DISCOVERY_MS);
    });
    await Promise.race([watch.synced, late]);
    return [...watch.instances().values()];
  } finally {
    clearTimeout(timer);
    await discovery.close();
  }
}
