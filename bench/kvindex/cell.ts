// One cell: the same data on both sides, every line in rounds that alternate.
import path from 'node:path';
import { type BenchRow, benchRow, median } from '#bench/report.ts';
import { type Comparison, rowOf } from './comparison.ts';
import type { Shape } from './data.ts';
import { querySets } from './layout.ts';
import { Side } from './side.ts';

export interface Effort {
  readonly rounds: number;
  /** Of one measurement of lookups. */
  readonly findMs: number;
  /** Passes over the queries for a 99th percentile. */
  readonly latencyPasses: number;
  readonly mixedRounds: number;
  /** Events of one block too. */
  readonly singleBlocks: boolean;
}

/** Event threads of the crate: one, so that each side applies events on one core, and its router's default. */
const eventThreads = [1, 4] as const;
const MIXED_SET = 1;

export function startOurs(): Side {
  const flags = ['--conditions=source', '--expose-gc', '--no-warnings=ExperimentalWarning'];
  return new Side('our side', process.execPath, [...flags, path.join(import.meta.dirname, 'ours.ts')]);
}

export function startAnchor(program: string): Side {
  return new Side('the crate', program, []);
}

export function nameOf({ blocks, workers, commonBlocks }: Shape): string {
  return `${blocks / 1e6} M, ${workers} w${commonBlocks > 0 ? `, common ${commonBlocks}` : ''}`;
}

export async function measureCell(shape: Shape, file: string, program: string, effort: Effort): Promise<BenchRow[]> {
  await using ours = startOurs();
  await using anchor = startAnchor(program);
  const cell = new Cell(shape, ours, anchor, effort);
  await cell.load(file);
  await cell.lookups();
  await cell.mixed();
  await cell.events(16);
  if (effort.singleBlocks) await cell.events(1);
  return cell.rows;
}

/** A line of which the figures come from applying events: against how many event threads, and where in an answer. */
interface EventLine {
  readonly threads: number;
  readonly figure: string;
  readonly scale: number;
  readonly comparison: Comparison;
}

type Command = readonly (string | number)[];

class Cell {
  readonly rows: BenchRow[] = [];
  readonly #shape: Shape;
  readonly #ours: Side;
  readonly #anchor: Side;
  readonly #effort: Effort;

  constructor(shape: Shape, ours: Side, anchor: Side, effort: Effort) {
    this.#shape = shape;
    this.#ours = ours;
    this.#anchor = anchor;
    this.#effort = effort;
  }

  /** Fills both sides, weighs them and holds their answers against each other. */
  async load(file: string): Promise<void> {
    const weights = this.#comparison('memory per (worker, block)', 'B', 'lower');
    for (const [side, figures, command] of [
      [this.#ours, weights.ours, ['load', file]],
      [this.#anchor, weights.anchor, ['load', file, eventThreads[1]]],
    ] as const) {
      const { bytes, entries } = await side.ask(...command);
      figures.push(Number(bytes) / Number(entries));
    }
    this.rows.push(rowOf(weights));
    await this.#verify();
  }

  async #verify(): Promise<void> {
    for (const [set, { name }] of querySets.entries()) {
      const [ours, anchor] = [await this.#ours.ask('verify', set), await this.#anchor.ask('verify', set)];
      for (const [what, sum] of Object.entries(ours))
        if (anchor[what] !== sum) throw new Error(`${name}: ${what} is ${sum} with us, ${anchor[what]} with the crate`);
    }
  }

  async lookups(): Promise<void> {
    const { findMs, latencyPasses } = this.#effort;
    const factor = this.#shape.commonBlocks > 0 && this.#shape.workers >= 512 ? 5 : 1;
    for (const [set, { name }] of querySets.entries()) {
      const finds = this.#comparison(`find ${name}`, 'M/s', 'higher', factor);
      const batches = this.#comparison(`find ${name}, in batches`, 'M/s', 'higher', factor);
      const latencies = this.#comparison(`find ${name}, p99`, 'µs', 'lower', factor);
      await this.#rounds(async () => {
        finds.ours.push((await this.#ours.figure('perSecond', 'find', set, findMs)) / 1e6);
        const anchor = (await this.#anchor.figure('perSecond', 'find', set, findMs)) / 1e6;
        finds.anchor.push(anchor);
        batches.ours.push((await this.#ours.figure('perSecond', 'batch', set, findMs)) / 1e6);
        batches.anchor.push(anchor);
        latencies.ours.push(await this.#ours.figure('p99Us', 'latency', set, latencyPasses));
        latencies.anchor.push(await this.#anchor.figure('p99Us', 'latency', set, latencyPasses));
      });
      this.rows.push(...[finds, batches, latencies].map(rowOf));
    }
  }

  /** Lookups between messages of 512 events. The crate applies events beside them, we before them: how long is a row too. */
  async mixed(): Promise<void> {
    const line = 'find among 4 events each';
    const rates = this.#comparison(line, 'M/s', 'higher');
    const latencies = this.#comparison(`${line}, p99`, 'µs', 'lower');
    const command: Command = ['mixed', MIXED_SET, this.#effort.mixedRounds];
    const waits: number[] = [];
    await this.#rounds(async () => {
      const ours = await this.#ours.ask(...command);
      const anchor = await this.#anchor.ask(...command);
      rates.ours.push(Number(ours['perSecond']) / 1e6);
      rates.anchor.push(Number(anchor['perSecond']) / 1e6);
      latencies.ours.push(Number(ours['p99Us']));
      latencies.anchor.push(Number(anchor['p99Us']));
      waits.push(Number(ours['messageUs']));
    });
    const wait = { line: `${nameOf(this.#shape)}: longest wait for 512 events`, unit: 'µs', ours: median(waits) };
    this.rows.push(rowOf(rates), rowOf(latencies), benchRow(wait));
  }

  async events(blocks: number): Promise<void> {
    const lines = ['stored', 'removed'].flatMap((change) => this.#eventLines(change, blocks));
    await this.#rounds(async () => {
      for (const threads of eventThreads) {
        const ours = await this.#ours.ask('churn', blocks);
        const anchor = await this.#anchor.ask('churn', blocks, threads);
        for (const { figure, scale, comparison } of lines.filter((line) => line.threads === threads)) {
          comparison.ours.push(Number(ours[figure]) / scale);
          comparison.anchor.push(Number(anchor[figure]) / scale);
        }
      }
    });
    this.rows.push(...lines.map(({ comparison }) => rowOf(comparison)));
  }

  #eventLines(change: string, blocks: number): EventLine[] {
    const line = `${change} x${blocks}`;
    const rates = eventThreads.map((threads) => {
      const against = `${line}, crate with ${threads === 1 ? '1 event thread' : `${threads} event threads`}`;
      const comparison = this.#comparison(against, 'M events/s', 'higher');
      return { threads, figure: `${change}PerSecond`, scale: 1e6, comparison };
    });
    const cpu = this.#comparison(`${line}, CPU`, 'µs/event', 'lower');
    return [...rates, { threads: 1, figure: `${change}CpuNs`, scale: 1e3, comparison: cpu }];
  }

  async #rounds(round: () => Promise<void>): Promise<void> {
    for (let i = 0; i < this.#effort.rounds; i++) await round();
  }

  #comparison(line: string, unit: string, better: 'higher' | 'lower', factor = 1): Comparison {
    return { line: `${nameOf(this.#shape)}: ${line}`, unit, better, factor, ours: [], anchor: [] };
  }
}
