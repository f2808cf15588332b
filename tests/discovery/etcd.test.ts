import { describeDiscovery } from '#lib/discovery/conformance.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { startEtcd } from '#tests/support/etcd.ts';
import { NO_ETCD } from '#tests/support/etcd-binary.ts';
import { skip } from '#tests/support/skip.ts';
import { startTcpProxy } from '#tests/support/tcp-proxy.ts';

describeDiscovery(
  'etcd',
  async (context) => {
    const server = await startEtcd();
    if (server === null) return skip(context, NO_ETCD);
    const proxy = await startTcpProxy(Number(new URL(server.endpoint).port));
    const ttlSeconds = 3;
    const open = (url: string, namespace: string) =>
      openDiscovery(url, { namespace, ttlSeconds, telemetry: quietTelemetry() });
    return {
      open: (namespace) => open(server.discoveryUrl, namespace),
      url: server.discoveryUrl,
      ttlSeconds,
      openSevered: async (namespace) => ({
        discovery: await open(`etcd:http://127.0.0.1:${proxy.port}`, namespace),
        cut: () => proxy.cut(),
        heal: () => proxy.heal(),
      }),
      dispose: async () => {
        await proxy.close();
        await server.stop();
      },
    };
  },
  { severable: true },
);
