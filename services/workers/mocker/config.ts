import { defaultEngineSettings, type TimingModel } from '#core/scheduling/engine/settings.ts';
import { polynomialTiming } from '#core/scheduling/engine/timing.ts';
import { byteVocabulary } from '#core/scheduling/synthetic-token.ts';
import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { workerSettings } from '../common/config.ts';
import { defaultMockerOptions as defaults, type MockerOptions, type ReasoningOptions } from './options.ts';

const group = 'Synthetic engine';
const scheduling = 'Simulated scheduler';
const timing = 'Simulated time';
const tiers = 'Simulated transfer and offload';
const faults = 'Injected faults';
const engine = defaultEngineSettings;

export const mockerSettings = defineSettings({
  ...workerSettings,
  model: setting.string({ default: defaults.model, group, help: 'Name of the model.' }),
  aliases: setting.list({ default: [], group, help: 'Further names of the model.' }),
  contextLength: setting.integer({
    default: defaults.contextLength,
    min: 2,
    group,
    help: 'Tokens of prompt and output.',
  }),
  maxSequences: setting.integer({ default: defaults.maxSequences, min: 1, group, help: 'Sequences computed at once.' }),
  maxQueuedSequences: setting.integer({
    default: defaults.maxQueuedSequences,
    min: 0,
    group,
    help: 'Sequences that may wait beyond those; more are refused.',
  }),
  maxBatchedTokens: setting.integer({
    default: defaults.maxBatchedTokens,
    min: 1,
    group,
    help: 'Tokens, of prompts and outputs, computed in one pass at most.',
  }),
  blockSize: setting.integer({ default: defaults.blockSize, min: 1, max: 4096, group, help: 'Tokens in a KV block.' }),
  kvBlocks: setting.integer({ default: defaults.kvBlocks, min: 2, group, help: 'KV blocks of the cache.' }),
  stepMs: setting.number({
    default: defaults.stepMs,
    min: 0,
    max: 60_000,
    group,
    help: 'Milliseconds of a decode pass with fixed timing; 0: as fast as possible.',
  }),
  burst: setting.integer({
    default: defaults.burst,
    min: 1,
    max: 1024,
    group,
    help: 'Tokens of a sequence in one step.',
  }),
  tokensPerSecond: setting.number({
    default: defaults.tokensPerSecond,
    min: 0,
    group,
    help: 'Output tokens a second of each sequence, instead of --step-ms; 0: --burst tokens each step.',
  }),
  prefillTokensPerSecond: setting.number({
    default: defaults.prefillTokensPerSecond,
    min: 0,
    group,
    help: 'Prompt tokens a second of the whole engine with fixed timing; 0: they take no time.',
  }),
  meanOutputTokens: setting.integer({
    default: defaults.meanOutputTokens,
    min: 0,
    group,
    help: 'The text ends after this many tokens on average; 0: only limits end it.',
  }),
  embeddingDimensions: setting.integer({
    default: defaults.embeddingDimensions,
    min: 0,
    max: 65_536,
    group,
    help: 'Length of embedding vectors; 0: the model does not embed.',
  }),
  reasoning: setting.optionalString({
    group,
    help: 'JSON {"start_thinking_token_id","end_thinking_token_id","thinking_ratio"}: that part of each output is reasoning.',
  }),
  workers: setting.integer({
    default: 1,
    min: 1,
    max: 256,
    group,
    help: 'Workers in this process, each with its own port (counted on from that of --listen).',
  }),
  staggerMs: setting.integer({ default: 0, min: 0, group, help: 'Milliseconds between the starts of those workers.' }),
  startupMs: setting.integer({ default: 0, min: 0, group, help: 'Milliseconds until an engine is ready.' }),
  engineType: setting.choice(['vllm', 'sglang', 'trtllm'], {
    default: defaults.kind,
    group: scheduling,
    help: 'Whose scheduler is simulated.',
  }),
  dataParallelSize: setting.integer({
    default: defaults.ranks,
    min: 1,
    max: 64,
    group: scheduling,
    help: 'Data parallel ranks, each with its own scheduler and cache.',
  }),
  prefixCaching: setting.boolean({
    default: engine.prefixCaching,
    group: scheduling,
    help: 'Whether blocks are shared.',
  }),
  chunkedPrefill: setting.boolean({
    default: engine.chunkedPrefill,
    group: scheduling,
    help: 'Whether prompts longer than a pass are computed in several.',
  }),
  preemption: setting.choice(['lifo', 'fifo'], {
    default: engine.preemption,
    group: scheduling,
    help: 'Who gives up its blocks when they run out: the sequence admitted last, or first.',
  }),
  acceptRates: setting.list({
    default: [],
    group: scheduling,
    help: 'Probabilities that the first, second, … speculative token is accepted, given those before it.',
  }),
  simulationSeed: setting.integer({ default: engine.seed, group: scheduling, help: 'Seed of accepted speculation.' }),
  sglangPolicy: setting.choice(['fifo', 'lpm'], {
    default: engine.sglang.policy,
    group: scheduling,
    help: 'SGLang: order of waiting requests, lpm is longest cached prefix first.',
  }),
  sglangMaxPrefillTokens: setting.integer({
    default: engine.sglang.maxPrefillTokens,
    min: 1,
    group: scheduling,
    help: 'SGLang: prompt tokens of one prefill batch.',
  }),
  sglangChunkedPrefillTokens: setting.integer({
    default: engine.sglang.chunkedPrefillTokens,
    min: 1,
    group: scheduling,
    help: 'SGLang: longer prompts are computed in chunks.',
  }),
  sglangClipMaxNewTokens: setting.integer({
    default: engine.sglang.clipMaxNewTokens,
    min: 1,
    group: scheduling,
    help: 'SGLang: output tokens that admission reserves for a request at most.',
  }),
  sglangConservativeness: setting.number({
    default: engine.sglang.conservativeness,
    min: 0,
    group: scheduling,
    help: 'SGLang: scales the part of the output that admission reserves.',
  }),
  timing: setting.choice(['fixed', 'polynomial'], {
    default: 'fixed',
    group: timing,
    help: "How long passes take: as --step-ms and --prefill-tokens-per-second say, or the polynomials of Dynamo's mocker.",
  }),
  timingProfile: setting.optionalString({
    group: timing,
    help: "File with measured durations, .npz as Dynamo's profiler writes it or .json with the same arrays; instead of --timing.",
  }),
  speedup: setting.number({
    default: engine.speedup,
    min: 0,
    group: timing,
    help: 'Divides every duration; 0: passes take no time.',
  }),
  decodeSpeedup: setting.number({
    default: engine.decodeSpeedup,
    min: 0.000_001,
    group: timing,
    help: 'Divides the decode part once more.',
  }),
  kvTransferGigabytesPerSecond: setting.number({
    default: engine.transfer.gigabytesPerSecond,
    min: 0,
    group: tiers,
    help: 'Bandwidth of KV from prefill to decode workers (NVLink: about 450); 0: no delay.',
  }),
  kvBytesPerToken: setting.integer({
    default: engine.transfer.bytesPerToken,
    min: 0,
    group: tiers,
    help: 'Bytes of KV of a token: layers · 2 · KV heads · head dimension · bytes of a number.',
  }),
  kvTransferMode: setting.choice(['full_prompt', 'destination_missing'], {
    default: engine.transfer.mode,
    group: tiers,
    help: 'Whether whole prompts are transferred, or what the decode worker has not cached.',
  }),
  kvBlockBytes: setting.integer({
    default: defaults.kvBlockBytes,
    min: 0,
    max: 1 << 30,
    group: tiers,
    help: 'Bytes of a KV block, a function of its prefix, that leave and enter the engine; 0: none do. Needs one data parallel rank.',
  }),
  handoffTtlMs: setting.integer({
    default: defaults.handoffTtlMs,
    min: 1,
    group: tiers,
    help: 'Milliseconds for which the KV of a prefill waits for its decoder.',
  }),
  zmqKvEvents: setting.optionalString({
    group: tiers,
    help: "tcp://HOST:PORT at which KV events are published in vLLM's ZeroMQ form too; a rank's port is this plus the rank.",
  }),
  zmqReplay: setting.optionalString({
    group: tiers,
    help: 'tcp://HOST:PORT at which those events can be asked for again.',
  }),
  hostBlocks: setting.integer({ default: 0, min: 0, group: tiers, help: 'KV blocks in host memory; 0: no offload.' }),
  diskBlocks: setting.integer({ default: 0, min: 0, group: tiers, help: 'KV blocks on disk behind host memory.' }),
  hostGigabytesPerSecond: setting.number({
    default: 0,
    min: 0,
    group: tiers,
    help: 'Bandwidth of KV from host memory; 0: no delay.',
  }),
  diskGigabytesPerSecond: setting.number({
    default: 0,
    min: 0,
    group: tiers,
    help: 'Bandwidth of KV from disk; 0: no delay.',
  }),
  taints: setting.list({ default: [], group, help: 'Labels that routing constraints match.' }),
  failSequenceAfterTokens: setting.integer({
    default: 0,
    min: 0,
    group: faults,
    help: 'Ends each sequence with an error after this many tokens; 0: never.',
  }),
  failEngineAfterTokens: setting.integer({
    default: 0,
    min: 0,
    group: faults,
    help: 'Makes the engine unusable after this many tokens in all; 0: never.',
  }),
  killAfterTokens: setting.integer({
    default: 0,
    min: 0,
    group: faults,
    help: 'Kills the process after this many tokens in all; 0: never.',
  }),
});

export type MockerConfig = SettingsOf<typeof mockerSettings>;

/** Options of an engine. `timing`: what the settings' profile says, if they name one. Throws `invalid_argument`. */
export function mockerOptions(config: MockerConfig, timing: TimingModel | undefined): MockerOptions {
  const { failSequenceAfterTokens, failEngineAfterTokens, killAfterTokens } = config;
  if (config.kvBlockBytes > 0 && (config.dataParallelSize > 1 || !config.prefixCaching))
    throw StatorError.invalid('kv_block_bytes', 'kv_block_bytes needs prefix_caching and a data_parallel_size of 1');
  return {
    ...config,
    kind: config.engineType,
    ranks: config.dataParallelSize,
    reasoning: config.reasoning === undefined ? undefined : parseReasoning(config.reasoning),
    timing: timing ?? (config.timing === 'polynomial' ? polynomialTiming : undefined),
    zmq: zmqOptions(config),
    simulation: simulationOptions(config),
    faults: { failSequenceAfterTokens, failEngineAfterTokens, killAfterTokens },
  };
}

function zmqOptions({ zmqKvEvents, zmqReplay }: MockerConfig): MockerOptions['zmq'] {
  if (zmqKvEvents !== undefined) return { endpoint: zmqKvEvents, replayEndpoint: zmqReplay };
  if (zmqReplay === undefined) return undefined;
  throw StatorError.invalid('zmq_replay', 'zmq_replay replays what zmq_kv_events publishes, and that is not set');
}

function simulationOptions(config: MockerConfig): MockerOptions['simulation'] {
  const { prefixCaching, chunkedPrefill, preemption, speedup, decodeSpeedup, kvBytesPerToken: bytesPerToken } = config;
  const { hostBlocks, diskBlocks, hostGigabytesPerSecond, diskGigabytesPerSecond } = config;
  const acceptRates = config.acceptRates.map(parseRate);
  return {
    ...{ prefixCaching, chunkedPrefill, preemption, speedup, decodeSpeedup },
    ...(acceptRates.length > 0 && { acceptRates }),
    seed: config.simulationSeed,
    sglang: {
      policy: config.sglangPolicy,
      maxPrefillTokens: config.sglangMaxPrefillTokens,
      chunkedPrefillTokens: config.sglangChunkedPrefillTokens,
      clipMaxNewTokens: config.sglangClipMaxNewTokens,
      conservativeness: config.sglangConservativeness,
    },
    transfer: { gigabytesPerSecond: config.kvTransferGigabytesPerSecond, bytesPerToken, mode: config.kvTransferMode },
    offload: { hostBlocks, diskBlocks, hostGigabytesPerSecond, diskGigabytesPerSecond, bytesPerToken },
  };
}

function parseRate(text: string): number {
  const rate = Number(text);
  if (rate >= 0 && rate <= 1) return rate;
  throw StatorError.invalid('accept_rates', `accept_rates must lie between 0 and 1, not ${text}`);
}

function parseReasoning(text: string): ReasoningOptions {
  let json: Readonly<Record<string, unknown>>;
  try {
    json = Object(JSON.parse(text)) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw new StatorError('invalid_argument', 'reasoning is not JSON', { field: 'reasoning', cause });
  }
  const number = (name: string, least: number, most: number): number => {
    const value = json[name];
    if (typeof value === 'number' && value >= least && value <= most) return value;
    throw StatorError.invalid('reasoning', `reasoning.${name} must be a number from ${least} to ${most}`);
  };
  const lastToken = byteVocabulary.size - 1;
  return {
    startTokenId: number('start_thinking_token_id', 0, lastToken),
    endTokenId: number('end_thinking_token_id', 0, lastToken),
    ratio: number('thinking_ratio', 0, 1),
  };
}
