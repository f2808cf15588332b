import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Discovery } from './discovery.ts';
import { EtcdDiscovery } from './etcd.ts';
import { checkCredentials, type EtcdOptions, parseEtcdTarget } from './etcd-target.ts';
import { FileDiscovery } from './file.ts';
import { MemoryDiscovery, memoryHub } from './memory.ts';

export interface DiscoveryOptions {
  readonly namespace: string;
  /** Seconds after which an instance whose owner fell silent is down. Above zero; below one only makes sense in tests. */
  readonly ttlSeconds: number;
  readonly telemetry: Telemetry;
  /** User, password and TLS files, for etcd. */
  readonly etcd?: EtcdOptions;
}

/**
 * Opens the back end that a URL names: `memory:` or `memory:NAME` (within this process), `file:/directory`,
 * `etcd:http://host:2379,http://host2:2379`. Throws StatorError `invalid_argument` for anything else.
 */
export async function openDiscovery(url: string, options: DiscoveryOptions): Promise<Discovery> {
  if (!(options.ttlSeconds > 0))
    throw StatorError.invalid('discoveryTtlSeconds', 'discoveryTtlSeconds must be above zero');
  const scheme = url.slice(0, url.indexOf(':') + 1);
  const rest = url.slice(scheme.length);
  if (scheme === 'memory:') return new MemoryDiscovery(memoryHub(rest), options);
  if (scheme === 'file:') return new FileDiscovery(directoryOf(rest), options);
  if (scheme === 'etcd:' || scheme === 'etcds:') {
    const target = parseEtcdTarget(rest, { tls: scheme === 'etcds:', options: options.etcd ?? {} });
    await checkCredentials(target);
    return new EtcdDiscovery(target, options);
  }
  throw StatorError.invalid(
    'discovery',
    `discovery ${JSON.stringify(scheme || url)} is not known: use memory:, file:/directory or etcd:http://host:2379[,http://host:2379]`,
  );
}

/** `/dir`, a relative directory, or the rest of a `file:///dir` URL. */
function directoryOf(rest: string): string {
  if (rest === '')
    throw StatorError.invalid('discovery', 'discovery file: needs a directory, for example file:/var/lib/stator');
  return rest.startsWith('//') ? fileURLToPath(`file:${rest}`) : path.resolve(rest);
}
