import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Watch } from '#lib/discovery/discovery.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Member, MemberPlan, Role } from './cluster.ts';
import { flagsOf, StatorProcess } from './stator-process.ts';
import { until } from './until.ts';

const KINDS: Readonly<Record<Role, ServiceKind>> = {
  gateway: ServiceKind.GATEWAY,
  tokenizer: ServiceKind.TOKENIZER,
  router: ServiceKind.ROUTER,
  mocker: ServiceKind.WORKER,
  llamacpp: ServiceKind.WORKER,
};

/** Starts a service as `stator ROLE …` and waits until it has registered itself. */
export async function startAsProcesses({ role, settings }: MemberPlan): Promise<Member> {
  const command = role === 'mocker' || role === 'llamacpp' ? ['worker', role] : [role];
  const options = { namespace: String(settings['namespace']), ttlSeconds: 10, telemetry: quietTelemetry() };
  const discovery = await openDiscovery(String(settings['discovery']), options);
  try {
    const watch = discovery.watch(KINDS[role]);
    await watch.synced;
    const others = new Set(watch.instances().keys());
    const beganMs = performance.now();
    const process = new StatorProcess([...command, ...flagsOf({ logFormat: 'json', ...settings })]);
    try {
      const address = await registeredAddress(process, watch, others);
      return {
        role,
        address,
        pid: process.pid,
        startMs: performance.now() - beganMs,
        output: () => process.output,
        stop: () => process[Symbol.asyncDispose](),
        kill: async () => void (await process.stop('SIGKILL')),
      };
    } catch (error) {
      const output = process.output;
      await process[Symbol.asyncDispose]();
      throw new Error(`stator ${command.join(' ')} did not register:\n${output}`, { cause: error });
    }
  } finally {
    await discovery.close();
  }
}

/** Address under which a new instance registers on whose port this process says that it listens. */
function registeredAddress(process: StatorProcess, watch: Watch, others: ReadonlySet<bigint>): Promise<string> {
  return until(
    'the service registers',
    () => {
      if (!process.running) throw new Error('the process has ended');
      const found = [...watch.instances().values()].filter(({ instanceId }) => !others.has(instanceId));
      return found.map(({ address }) => address).find((address) => process.output.includes(address));
    },
    60_000,
  );
}
