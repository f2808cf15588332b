// Prefill and decode apart against two aggregated workers: the same two processes, the same mixed load of long prompts and short
// chats, in turns. Shown whichever way it comes out; plots go to the folder .stator/bench.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow } from '#bench/report.ts';
import { renderSvg } from '#sim/report/plots/render.ts';
import { startCluster, type WorkerSpec } from '#tests/support/cluster.ts';
import { findDefaultModel } from '#tests/support/model.ts';
import { percentile, type Series, waitsFigure } from './figure.ts';
import { drive, type Load, type Timed } from './load.ts';

interface Way {
  readonly name: string;
  readonly roles: readonly [string, string];
  readonly router?: Readonly<Record<string, string | number | boolean>>;
}

interface Setup {
  readonly name: string;
  readonly load: Load;
  readonly worker: (role: string) => WorkerSpec;
}

const conditional = { conditionalDisagg: true, conditionalDisaggConfig: '{"eff_isl_threshold":128,"eff_isl_ratio":1}' };
const ways: readonly Way[] = [
  { name: 'together', roles: ['aggregated', 'aggregated'] },
  { name: 'apart', roles: ['prefill', 'decode'] },
  { name: 'apart, short prompts on the decode worker', roles: ['prefill', 'decode'], router: conditional },
];

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const rows: BenchRow[] = [];
  const rounds = quick ? 1 : 2;
  for (const setup of await setups(quick)) {
    const measured = new Map<string, Timed[]>(ways.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++)
      for (const way of ways) measured.get(way.name)?.push(...(await measure(setup, way, round)));
    const series = ways.map(({ name }) => seriesOf(name, measured.get(name) ?? []));
    rows.push(...rowsOf(setup.name, series));
    await plot(setup, series, rounds);
  }
  return { bench: 'disagg', rows };
}

/** The synthetic engine takes the time of a large model on a GPU; llama.cpp takes that of a small one on a core. */
async function setups(quick: boolean): Promise<Setup[]> {
  const timing = { timing: 'polynomial', kvBlockBytes: 1024, kvBlocks: 8192, contextLength: 32_768 };
  const synthetic: Setup = {
    name: 'synthetic',
    load: {
      seconds: quick ? 6 : 15,
      chatEveryMs: 150,
      longEveryMs: 1500,
      chatTokens: 60,
      longTokens: 20,
      longWords: 400,
    },
    worker: (role) => ({ engine: 'mocker', settings: { model: 'm', ...timing, role } }),
  };
  const file = await findDefaultModel();
  if (file === undefined) return [synthetic];
  const settings = { model: [file], modelName: ['m'], threads: 1, contextLength: 2048, kvTokens: 16_384 };
  const llamacpp: Setup = {
    name: 'llama.cpp',
    load: {
      seconds: quick ? 6 : 30,
      chatEveryMs: 2500,
      longEveryMs: 6000,
      chatTokens: 24,
      longTokens: 8,
      longWords: 150,
    },
    worker: (role) => ({ engine: 'llamacpp', settings: { ...settings, role } }),
  };
  return [synthetic, llamacpp];
}

async function measure({ load, worker }: Setup, { roles, router }: Way, round: number): Promise<Timed[]> {
  const options = { workers: roles.map(worker), separateProcesses: true } as const;
  await using cluster = await startCluster(router === undefined ? options : { ...options, router });
  await drive(cluster.url, 'm', { ...load, seconds: 1 }, -1 - round);
  return await drive(cluster.url, 'm', load, round);
}

function seriesOf(name: string, timed: readonly Timed[]): Series {
  const sorted = (values: readonly number[]): number[] => values.toSorted((a, b) => a - b);
  const chats = timed.filter(({ kind }) => kind === 'chat');
  return {
    name,
    chatFirstMs: sorted(chats.map(({ firstMs }) => firstMs)),
    chatGapsMs: sorted(chats.flatMap(({ gapsMs }) => gapsMs)),
    longFirstMs: sorted(timed.filter(({ kind }) => kind === 'long').map(({ firstMs }) => firstMs)),
  };
}

/** Each way against both workers together. */
function rowsOf(engine: string, series: readonly Series[]): BenchRow[] {
  const [together] = series;
  const figures = [
    { what: 'chats, between tokens p50', of: (one: Series) => percentile(one.chatGapsMs, 50) },
    { what: 'chats, between tokens p99', of: (one: Series) => percentile(one.chatGapsMs, 99) },
    { what: 'chats, first token p50', of: (one: Series) => percentile(one.chatFirstMs, 50) },
    { what: 'chats, first token p99', of: (one: Series) => percentile(one.chatFirstMs, 99) },
    { what: 'long prompts, first token p50', of: (one: Series) => percentile(one.longFirstMs, 50) },
  ];
  if (together === undefined) return [];
  return series
    .slice(1)
    .flatMap((one) =>
      figures.map(({ what, of }) =>
        benchRow({ line: `${engine}, ${one.name}: ${what}`, unit: 'ms', ours: of(one), anchor: of(together) }),
      ),
    );
}

async function plot({ name, load }: Setup, series: readonly Series[], rounds: number): Promise<void> {
  const counts = `${series[0]?.chatFirstMs.length ?? 0} chats and ${series[0]?.longFirstMs.length ?? 0} long prompts each`;
  const subtitle = `${name} · ${counts} in ${rounds} × ${load.seconds} s`;
  const figure = waitsFigure(`disagg-${name.replace('.', '')}`, subtitle, series);
  const folder = path.resolve('.stator', 'bench');
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, `${figure.name}.svg`), renderSvg(figure, 'auto'));
}
