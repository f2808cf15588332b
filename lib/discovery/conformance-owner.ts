// A process for the conformance suite: `conformance-owner.ts MODE URL NAMESPACE TTL_SECONDS INSTANCE_ID`.
// Registers and watches. `hold` stays until it is killed; `leave` closes at the end of its input, and must then end by itself.
import { once } from 'node:events';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { testInstance } from './conformance-support.ts';
import { openDiscovery } from './open.ts';

const [mode, url = '', namespace = '', ttlSeconds = '', instanceId = ''] = process.argv.slice(2);
const discovery = await openDiscovery(url, { namespace, ttlSeconds: Number(ttlSeconds), telemetry: quietTelemetry() });
await discovery.register(testInstance(BigInt(instanceId)));
const watch = discovery.watch(undefined);
await watch.synced;
process.stdout.write('registered\n');
process.stdin.resume();
await once(process.stdin, 'end');
if (mode === 'leave') await discovery.close();
