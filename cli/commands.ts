/** One command of `stator`; its module is loaded only when it runs. */
export interface Command {
  /** One word, or two such as "worker mocker". */
  readonly name: string;
  readonly summary: string;
  run(args: readonly string[]): Promise<void>;
}

export const commands: readonly Command[] = [
  {
    name: 'up',
    summary: 'Starts everything on this machine and serves a model.',
    run: async (args) => (await import('./up/command.ts')).up(args),
  },
  {
    name: 'chat',
    summary: 'Chats in the terminal, with a running gateway or one of its own.',
    run: async (args) => (await import('./chat/command.ts')).chat(args),
  },
  {
    name: 'doctor',
    summary: 'Checks this machine and says what to do about what is missing.',
    run: async (args) => (await import('./doctor/command.ts')).doctor(args),
  },
  {
    name: 'models',
    summary: 'Lists cached models, or with --url those of a gateway.',
    run: async (args) => (await import('./models/command.ts')).listModels(args),
  },
  {
    name: 'models pull',
    summary: 'Fetches a model into the cache.',
    run: async (args) => (await import('./models/command.ts')).pullModel(args),
  },
  {
    name: 'models rm',
    summary: 'Removes a model from the cache.',
    run: async (args) => (await import('./models/command.ts')).removeModel(args),
  },
  {
    name: 'gateway',
    summary: 'Runs a gateway: REST and gRPC for clients.',
    run: async (args) => (await import('./services.ts')).gateway(args),
  },
  {
    name: 'tokenizer',
    summary: 'Runs a tokenizer: chat templates and token ids.',
    run: async (args) => (await import('./services.ts')).tokenizer(args),
  },
  {
    name: 'router',
    summary: 'Runs a router: picks the worker of each request.',
    run: async (args) => (await import('./services.ts')).router(args),
  },
  {
    name: 'kvbm',
    summary: "Runs this machine's KV block manager.",
    run: async (args) => (await import('./services.ts')).kvbm(args),
  },
  {
    name: 'kvbm stats',
    summary: 'Shows how full the tiers of a KV block manager are.',
    run: async (args) => (await import('./kvbm/stats.ts')).kvbmStats(args),
  },
  {
    name: 'kvbm ls',
    summary: 'Lists its blocks.',
    run: async (args) => (await import('./kvbm/list.ts')).kvbmList(args),
  },
  {
    name: 'kvbm evict',
    summary: 'Drops blocks from a tier.',
    run: async (args) => (await import('./kvbm/evict.ts')).kvbmEvict(args),
  },
  {
    name: 'kvbm verify',
    summary: 'Compares blocks with their checksums.',
    run: async (args) => (await import('./kvbm/verify.ts')).kvbmVerify(args),
  },
  {
    name: 'kvbm purge',
    summary: "Drops a tenant's blocks in every tier.",
    run: async (args) => (await import('./kvbm/purge.ts')).kvbmPurge(args),
  },
  {
    name: 'worker llamacpp',
    summary: 'Runs a worker with the embedded llama.cpp engine.',
    run: async (args) => (await import('./services.ts')).llamacppWorker(args),
  },
  {
    name: 'worker mocker',
    summary: 'Runs a worker with the synthetic engine.',
    run: async (args) => (await import('./services.ts')).mockerWorker(args),
  },
  {
    name: 'replay',
    summary: 'Replays a trace under virtual time, or against a live deployment, and reports.',
    run: async (args) => (await import('./replay/command.ts')).replay(args),
  },
  {
    name: 'replay compare',
    summary: 'Compares reports of replays, or sweeps.',
    run: async (args) => (await import('./replay/compare.ts')).compareReplays(args),
  },
  {
    name: 'replay show',
    summary: 'Shows a report of a replay again: its table and its plots.',
    run: async (args) => (await import('./replay/show.ts')).showReplay(args),
  },
  {
    name: 'replay timeline',
    summary: 'Turns a trace of requests into a timeline for Perfetto.',
    run: async (args) => (await import('./replay/timeline.ts')).timeline(args),
  },
  {
    name: 'keys create',
    summary: 'Adds an API key to the file or store that gateways read.',
    run: async (args) => (await import('./keys/command.ts')).createKey(args),
  },
  {
    name: 'keys list',
    summary: 'Lists the API keys of a file or store.',
    run: async (args) => (await import('./keys/command.ts')).listKeys(args),
  },
  {
    name: 'keys rotate',
    summary: 'Replaces an API key; the old one is good for a while yet.',
    run: async (args) => (await import('./keys/command.ts')).rotateKey(args),
  },
  {
    name: 'keys revoke',
    summary: 'Takes an API key out of the file or store.',
    run: async (args) => (await import('./keys/command.ts')).revokeKey(args),
  },
  {
    name: 'probe',
    summary: 'Probes tool calls, reasoning and structured output of models and parsers.',
    run: async (args) => (await import('./probe/command.ts')).probe(args),
  },
  {
    name: 'openapi',
    summary: "Writes the REST API's OpenAPI document.",
    run: async (args) => (await import('./openapi.ts')).writeOpenapi(args),
  },
];
