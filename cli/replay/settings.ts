import { defaultBlockSizes, defaultEngineSettings } from '#core/scheduling/engine/settings.ts';
import { defineSettings, type Setting, type SettingsOf, setting } from '#lib/config/settings.ts';
import { routerSettings } from '#services/router/config.ts';
import { costSettings } from '#services/router/cost-config.ts';
import { kvBlockSettings } from '#services/router/kv-blocks.ts';
import { stageSettings } from '#services/router/modes.ts';
import { queueSettings, sessionSettings } from '#services/router/queue-config.ts';
import { mockerSettings } from '#services/workers/mocker/config.ts';
import { themes } from '#sim/report/plots/theme.ts';
import { traceFormats } from '#sim/traces/open-trace.ts';
import { arrivalProcesses } from '#sim/traces/synthetic.ts';

const trace = 'Trace';
const synthetic = 'Generated load';
const load = 'Load';
const deployment = 'Simulated deployment';
const report = 'Report';
const live = 'Live deployment';

const traceSettings = {
  traceFormat: setting.choice(traceFormats, {
    default: 'mooncake',
    group: trace,
    help: 'Form of the trace (docs/replay.md).',
  }),
  traceBlockSize: setting.integer({
    default: 512,
    min: 1,
    max: 1_048_576,
    group: trace,
    help: 'Tokens that one hash id of the trace stands for.',
  }),
  traceModel: setting.string({
    default: '',
    group: trace,
    help: 'Model whose requests are replayed, where a trace of the form dynamo has several; empty: all.',
  }),
  requestCount: setting.optionalInteger({
    min: 1,
    group: trace,
    help: 'Requests that are sent at most; without a trace those that are generated (default 1000).',
  }),
  sharedPrefixRatio: setting.number({
    default: 0,
    min: 0,
    max: 1,
    group: trace,
    help: 'Part of the first prompt of a session that its group shares, where no trace says what prompts consist of.',
  }),
  numPrefixGroups: setting.integer({ default: 1, min: 0, group: trace, help: 'Those groups.' }),
};

const syntheticSettings = {
  synthetic: setting.choice(['off', 'plain', 'mooncake'], {
    default: 'off',
    group: synthetic,
    help: 'Instead of a trace: plain, as the settings below say; mooncake resembles its published conversations.',
  }),
  generate: setting.optionalString({
    group: synthetic,
    help: 'File to which generated load is written as a trace, instead of being replayed.',
  }),
  inputTokens: setting.integer({
    default: 2000,
    min: 1,
    group: synthetic,
    help: 'Mean tokens of the first prompt of a session.',
  }),
  outputTokens: setting.integer({ default: 256, min: 1, group: synthetic, help: 'Mean tokens of outputs.' }),
  lengthSpread: setting.number({
    default: 0,
    min: 0,
    max: 3,
    group: synthetic,
    help: "Standard deviation of the lengths' logarithm; 0: all are the mean.",
  }),
  arrivals: setting.choice(arrivalProcesses, { default: 'poisson', group: synthetic, help: 'How sessions arrive.' }),
  burstShape: setting.number({
    default: 1,
    min: 0.01,
    max: 100,
    group: synthetic,
    help: 'Arrivals gamma: shape of the times between them; below 1 they come in bursts.',
  }),
  turnsPerSession: setting.integer({
    default: 1,
    min: 1,
    max: 10_000,
    group: synthetic,
    help: 'Requests of a session.',
  }),
  turnTokens: setting.integer({
    default: 100,
    min: 1,
    group: synthetic,
    help: 'Mean tokens that each turn after the first adds to what was said.',
  }),
  interTurnDelayMs: setting.number({
    default: 0,
    min: 0,
    group: synthetic,
    help: 'Milliseconds between the end of a turn and the next.',
  }),
};

const loadSettings = {
  concurrency: setting.optionalInteger({
    min: 1,
    max: 1_000_000,
    group: load,
    help: 'Requests in flight, instead of the times of the trace.',
  }),
  arrivalIntervalMs: setting.optionalNumber({
    min: 0,
    group: load,
    help: 'Milliseconds between arrivals, instead of the times of the trace; of plain generated load the mean (default 100).',
  }),
  arrivalSpeedupRatio: setting.number({
    default: 1,
    min: 0.000_001,
    max: 1_000_000,
    group: load,
    help: 'Divides the times between arrivals and the delays of sessions.',
  }),
  seed: setting.integer({ default: 1, min: 0, max: 2 ** 31 - 1, group: load, help: 'Equal seeds give equal reports.' }),
  sweep: setting.optionalString({
    group: load,
    help: 'One replay for each value of concurrency, num-workers or arrival-speedup-ratio, for example concurrency=1,2,4,8.',
  }),
};

const deploymentSettings = {
  numWorkers: setting.integer({
    default: 4,
    min: 1,
    max: 4096,
    group: deployment,
    help: 'Workers that do everything.',
  }),
  numPrefillWorkers: setting.integer({
    default: 0,
    min: 0,
    max: 4096,
    group: deployment,
    help: 'Workers for prompts, with --num-decode-workers instead of --num-workers.',
  }),
  numDecodeWorkers: setting.integer({ default: 0, min: 0, max: 4096, group: deployment, help: 'Workers for outputs.' }),
  workerGroups: setting.optionalString({
    group: deployment,
    help: 'Workers that differ, instead of the numbers above: a JSON list, or a file with it, of {"count", "role", engine settings}.',
  }),
  prefillEngineArgs: setting.optionalString({
    group: deployment,
    help: 'JSON object of engine settings that prefill workers have otherwise, for example {"maxBatchedTokens":16384}.',
  }),
  decodeEngineArgs: setting.optionalString({ group: deployment, help: 'The same for decode workers.' }),
  kvEventDelayMs: setting.number({
    default: 1,
    min: 0,
    max: 60_000,
    group: deployment,
    help: "Milliseconds that a worker's cache events take to the router.",
  }),
  frontendMs: setting.number({
    default: 0,
    min: 0,
    max: 60_000,
    group: deployment,
    help: 'Milliseconds from sending a request to its routing: gateway, tokenizer, network.',
  }),
  frontendUsPerToken: setting.number({
    default: 0,
    min: 0,
    max: 10_000,
    group: deployment,
    help: 'Microseconds more for each token of the prompt.',
  }),
};

/** Of a simulated engine, under the names of `stator worker mocker`; the defaults are those of Dynamo's mocker. */
export const engineSettings = {
  engineType: mockerSettings.engineType,
  blockSize: setting.optionalInteger({
    min: 1,
    max: 4096,
    group: mockerSettings.blockSize.group,
    help: `Tokens in a KV block; default ${defaultBlockSizes.vllm}, SGLang ${defaultBlockSizes.sglang}, TensorRT-LLM ${defaultBlockSizes.trtllm}.`,
  }),
  kvBlocks: withDefault(mockerSettings.kvBlocks, defaultEngineSettings.totalBlocks),
  maxSequences: withDefault(mockerSettings.maxSequences, defaultEngineSettings.maxSequences),
  maxBatchedTokens: withDefault(mockerSettings.maxBatchedTokens, defaultEngineSettings.maxBatchedTokens),
  contextLength: withDefault(mockerSettings.contextLength, defaultEngineSettings.contextLength),
  dataParallelSize: mockerSettings.dataParallelSize,
  prefixCaching: mockerSettings.prefixCaching,
  chunkedPrefill: mockerSettings.chunkedPrefill,
  preemption: mockerSettings.preemption,
  burst: mockerSettings.burst,
  acceptRates: mockerSettings.acceptRates,
  simulationSeed: mockerSettings.simulationSeed,
  sglangPolicy: mockerSettings.sglangPolicy,
  sglangMaxPrefillTokens: mockerSettings.sglangMaxPrefillTokens,
  sglangChunkedPrefillTokens: mockerSettings.sglangChunkedPrefillTokens,
  sglangClipMaxNewTokens: mockerSettings.sglangClipMaxNewTokens,
  sglangConservativeness: mockerSettings.sglangConservativeness,
  timing: withDefault(mockerSettings.timing, 'polynomial'),
  timingProfile: mockerSettings.timingProfile,
  stepMs: mockerSettings.stepMs,
  tokensPerSecond: mockerSettings.tokensPerSecond,
  prefillTokensPerSecond: mockerSettings.prefillTokensPerSecond,
  speedup: mockerSettings.speedup,
  decodeSpeedup: mockerSettings.decodeSpeedup,
  kvTransferGigabytesPerSecond: mockerSettings.kvTransferGigabytesPerSecond,
  kvBytesPerToken: mockerSettings.kvBytesPerToken,
  kvTransferMode: mockerSettings.kvTransferMode,
  hostBlocks: mockerSettings.hostBlocks,
  diskBlocks: mockerSettings.diskBlocks,
  hostGigabytesPerSecond: mockerSettings.hostGigabytesPerSecond,
  diskGigabytesPerSecond: mockerSettings.diskGigabytesPerSecond,
  startupMs: mockerSettings.startupMs,
  staggerMs: mockerSettings.staggerMs,
};

/** Of the router, under the names of `stator router`; only its mode has a longer one here. */
export const routingSettings = {
  ...stageSettings,
  inhibitMs: routerSettings.inhibitMs,
  loadPollMs: routerSettings.loadPollMs,
  busyDecodeBlocks: routerSettings.busyDecodeBlocks,
  busyPrefillTokens: routerSettings.busyPrefillTokens,
  busyPrefillTokensFraction: routerSettings.busyPrefillTokensFraction,
  ...costSettings,
  ...kvBlockSettings,
  ...queueSettings,
  ...sessionSettings,
};

const plotSettings = {
  plots: setting.optionalString({ group: report, help: 'Directory for the plots and a page with all of them.' }),
  plotFormat: setting.choice(['svg', 'png'], { default: 'svg', group: report, help: 'Form of the plots.' }),
  theme: setting.choice(themes, {
    default: 'auto',
    group: report,
    help: 'Colours of the plots; auto follows the viewer (PNG: light).',
  }),
};

const reportSettings = {
  slaTtftMs: setting.optionalNumber({ min: 0, group: report, help: 'Goodput: bound of the time to the first token.' }),
  slaItlMs: setting.optionalNumber({ min: 0, group: report, help: 'Goodput: bound of the mean time between tokens.' }),
  slaE2eMs: setting.optionalNumber({ min: 0, group: report, help: 'Goodput: bound of the latency of a request.' }),
  reportJson: setting.optionalString({
    group: report,
    help: 'File for the report as JSON; -: standard output, instead of the table.',
  }),
  ...plotSettings,
};

const liveSettings = {
  online: setting.optionalString({
    group: live,
    help: 'URL of a gateway against which the trace is played in real time, for example http://127.0.0.1:8000.',
  }),
  apiKey: setting.optionalString({ secret: true, group: live, help: 'Key for that gateway.' }),
  model: setting.optionalString({
    group: live,
    help: 'Model that is asked; default: the first that the gateway lists.',
  }),
  maxConnections: setting.integer({
    default: 1024,
    min: 1,
    max: 65_535,
    group: live,
    help: 'Connections, and so requests at once; further ones wait in the client, which counts as latency.',
  }),
  requestTimeoutSeconds: setting.number({
    default: 600,
    min: 1,
    max: 86_400,
    group: live,
    help: 'Longest silence before and within an answer.',
  }),
  promptTokenIds: setting.string({
    default: '100-249',
    group: live,
    help: 'First and last of the token ids that prompts are made of; the model must know them as ordinary tokens.',
  }),
};

export const replaySettings = defineSettings({
  ...traceSettings,
  ...syntheticSettings,
  ...loadSettings,
  ...deploymentSettings,
  routerMode: withDefault(routerSettings.mode, routerSettings.mode.default),
  ...reportSettings,
  ...liveSettings,
  ...engineSettings,
  ...routingSettings,
});

export const compareSettings = defineSettings({
  json: setting.boolean({ default: false, group: report, help: 'Writes JSON instead of a table.' }),
  ...plotSettings,
});

export const showSettings = defineSettings(plotSettings);

export const timelineSettings = defineSettings({
  out: setting.string({ default: '-', group: report, help: 'File of the timeline; -: standard output.' }),
});

export type ReplaySettings = SettingsOf<typeof replaySettings>;
export type PlotSettings = SettingsOf<typeof plotSettings>;

function withDefault<T>(entry: Setting<T>, value: NoInfer<T>): Setting<T> {
  return { ...entry, default: value };
}
