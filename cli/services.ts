import { runMain, type ServiceParts } from '#lib/service/run.ts';
import { ensurePresent } from './up/addons.ts';

// Settings are loaded at once, the service itself only when it really starts: --help stays quick.

export async function gateway(argv: readonly string[]): Promise<void> {
  const { gatewaySettings: settings } = await import('#gateway/config.ts');
  const summary = 'Runs a gateway: REST and gRPC for clients.';
  await runMain({
    name: 'gateway',
    summary,
    settings,
    argv,
    start: async (config, parts) => (await import('#gateway/service.ts')).startGateway(config, parts),
  });
}

export async function tokenizer(argv: readonly string[]): Promise<void> {
  const { tokenizerSettings: settings } = await import('#services/tokenizer/config.ts');
  const summary = 'Runs a tokenizer: chat templates and token ids.';
  await runMain({
    name: 'tokenizer',
    summary,
    settings,
    argv,
    start: async (config, parts) => {
      await addons(parts, 'tokens');
      // It reads the vocabularies of GGUF files; other tokenizers do without.
      await addons(parts, 'llamacpp').catch((error: unknown) =>
        parts.telemetry.log.warn({ err: error }, 'tokenizers of GGUF files cannot be read'),
      );
      return (await import('#services/tokenizer/service.ts')).startTokenizer(config, parts);
    },
  });
}

export async function router(argv: readonly string[]): Promise<void> {
  const { routerSettings: settings } = await import('#services/router/config.ts');
  const summary = 'Runs a router: picks the worker of each request.';
  await runMain({
    name: 'router',
    summary,
    settings,
    argv,
    start: async (config, parts) => {
      await addons(parts, 'tokens', 'kvindex');
      return (await import('#services/router/service.ts')).startRouter(config, parts);
    },
  });
}

export async function kvbm(argv: readonly string[]): Promise<void> {
  const { kvbmSettings: settings } = await import('#services/kvbm/config.ts');
  const summary = 'Runs the KV block manager of this machine: host memory, disk and object store for workers.';
  await runMain({
    name: 'kvbm',
    summary,
    settings,
    argv,
    start: async (config, parts) => {
      await addons(parts, 'tokens', 'hostmem');
      return (await import('#services/kvbm/service.ts')).startKvbm(config, parts);
    },
  });
}

export async function llamacppWorker(argv: readonly string[]): Promise<void> {
  const { llamacppSettings: settings } = await import('#services/workers/llamacpp/config.ts');
  const summary = 'Runs a worker with the embedded llama.cpp engine.';
  await runMain({
    name: 'worker llamacpp',
    summary,
    settings,
    argv,
    start: async (config, parts) => {
      await addons(parts, 'tokens', 'llamacpp', 'hostmem');
      return (await import('#services/workers/llamacpp/service.ts')).startLlamacppWorker(config, parts);
    },
  });
}

export async function mockerWorker(argv: readonly string[]): Promise<void> {
  const { mockerSettings: settings } = await import('#services/workers/mocker/config.ts');
  const summary = 'Runs a worker with the synthetic engine.';
  await runMain({
    name: 'worker mocker',
    summary,
    settings,
    argv,
    start: async (config, parts) => {
      await addons(parts, 'tokens', 'hostmem');
      return (await import('#services/workers/mocker/service.ts')).startMockerWorker(config, parts);
    },
  });
}

function addons({ telemetry, shutdown }: ServiceParts, ...names: string[]): Promise<void> {
  return ensurePresent(names, (line) => telemetry.log.info(line), shutdown);
}
