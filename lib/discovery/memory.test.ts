import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { describeDiscovery } from './conformance.ts';
import { MemoryDiscovery, MemoryHub } from './memory.ts';

describeDiscovery(
  'memory',
  async () => {
    const hub = new MemoryHub();
    return {
      open: async (namespace) => new MemoryDiscovery(hub, { namespace, telemetry: quietTelemetry() }),
      ttlSeconds: 1,
      dispose: async () => {},
    };
  },
  { processes: false },
);
