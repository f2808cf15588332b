import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Hook, Runner, Test } from 'mocha';
import { projectRoot } from './project.ts';

const SHOWN_FILES = 10;
const SHOWN_FROM_MS = 1000;
/** Linux counts the time of processors in these in /proc. */
const TICK_MS = 10;

/** Adds up what the tests and hooks of each file take. The lines it returns name the files that take longest. */
export function watchDurations(runner: Runner): () => string[] {
  const msOfFile = new Map<string, number>();
  const add = ({ file, duration }: Test | Hook): void => {
    const name = path.relative(projectRoot, file ?? '');
    msOfFile.set(name, (msOfFile.get(name) ?? 0) + (duration ?? 0));
  };
  runner.on('test end', add);
  runner.on('hook end', add);
  return () => {
    const slowest = [...msOfFile].sort(([, a], [, b]) => b - a).slice(0, SHOWN_FILES);
    const shown = slowest.filter(([, ms]) => ms >= SHOWN_FROM_MS);
    return shown.map(([name, ms]) => `  ${seconds(ms).padStart(7)}  ${name}`);
  };
}

/** Time of processors that this process and its ended children have used, where that can be told. */
export function processorTime(): string {
  const own = process.cpuUsage();
  const ownMs = (own.user + own.system) / 1000;
  try {
    // After the name, which may hold spaces: the state is field 3, what waited-for children used are fields 16 and 17.
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const childrenMs = (Number(fields[13]) + Number(fields[14])) * TICK_MS;
    return `${seconds(ownMs)} of a processor here, ${seconds(childrenMs)} in other processes`;
  } catch {
    return `${seconds(ownMs)} of a processor`;
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
