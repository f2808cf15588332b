import { hostname } from 'node:os';
import type { Client } from '@connectrpc/connect';
import { type Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { KvBlockService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient, type RpcTarget } from '#lib/rpc/client.ts';
import { targetOf } from '#lib/service/security.ts';
import { defaultDiscoveryUrl } from '#lib/service/settings.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { discoveriesOfRuns } from '../up/run-directory.ts';
import type { KvbmTarget } from './settings.ts';

const findMs = 5000;

/** Calls the block manager that the settings mean. Throws StatorError `not_found` when there is none, or more than one. */
export async function withKvbm(
  settings: KvbmTarget,
  call: (client: Client<typeof KvBlockService>) => Promise<void>,
): Promise<void> {
  const { client, close } = createRpcClient(KvBlockService, await findTarget(settings), quietTelemetry());
  try {
    await call(client);
  } finally {
    close();
  }
}

async function findTarget(settings: KvbmTarget): Promise<RpcTarget> {
  const { address, name } = settings;
  if (address !== undefined) return targetOf({ address, tls: settings.tlsCa !== undefined }, settings);
  const listed = (await Promise.all((await urls(settings)).map((url) => listedBy(url, settings.namespace)))).flat();
  const named = listed.filter((instance) => name === undefined || instance.name === name);
  const here = named.filter(({ host }) => host === hostname());
  const [found, ...others] = here.length > 0 ? here : named;
  if (found === undefined)
    throw StatorError.notFound(
      name === undefined
        ? 'No block manager is registered; name one with --address.'
        : `No block manager ${name} is registered.`,
    );
  if (others.length === 0) return targetOf(found, settings);
  const names = [found, ...others].map((one) => `${one.name} (${one.address})`).join(', ');
  throw StatorError.invalid(
    'name',
    `Several block managers are registered: ${names}; choose with --name or --address.`,
  );
}

async function urls({ discovery }: KvbmTarget): Promise<string[]> {
  return discovery === '' ? [defaultDiscoveryUrl(), ...(await discoveriesOfRuns())] : [discovery];
}

async function listedBy(url: string, namespace: string): Promise<Instance[]> {
  const discovery = await openDiscovery(url, { namespace, ttlSeconds: 5, telemetry: quietTelemetry() });
  try {
    const watch = discovery.watch(ServiceKind.KVBM);
    await Promise.race([watch.synced, late(url)]);
    return [...watch.instances().values()];
  } finally {
    await discovery.close();
  }
}

function late(url: string): Promise<never> {
  const error = new StatorError('deadline_exceeded', `Discovery at ${url} does not answer.`);
  return new Promise((_, reject) => setTimeout(() => reject(error), findMs).unref());
}
