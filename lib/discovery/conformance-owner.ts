// A process for the conformance suite: `conformance-owner.ts MODE URL NAMESPACE TTL_SECONDS INSTANCE_ID`.
// `hold` registers and stays until it is killed; `leave` registers, watches, closes, and must then end by itself.
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { testInstance } from './conformance-support.ts';
import { openDiscovery } from './open.ts';

const [mode, url = '', namespace = '', ttlSeconds = '', instanceId = ''] = process.argv.slice(2);
const discovery = await openDiscovery(url, { namespace, ttlSeconds: Number(ttlSeconds), telemetry: quietTelemetry() });
await discovery.register(testInstance(BigInt(instanceId)));
const watch = discovery.watch(undefined);
await watch.synced;
process.stdout.write('registered\n');
if (mode === 'hold') process.stdin.resume();
else await discovery.close();
