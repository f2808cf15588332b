import { access, constants, mkdir, readFile, statfs } from 'node:fs/promises';
import os from 'node:os';
import { cacheDirectory } from '#lib/config/directories.ts';
import { formatBytes } from '../ui/format.ts';
import { type Finding, fail, guarded, ok, type Section, warn } from './check.ts';

const MIN_MEMORY_BYTES = 1e9;
const MIN_DISK_BYTES = 1e9;
const FULL_DISK_BYTES = 200e6;
const MIN_SHM_BYTES = 64e6;
const MIN_OPEN_FILES = 4096;

export async function systemSection(): Promise<Section> {
  const findings = await Promise.all([
    guarded('platform', platform),
    guarded('cpu', cpu),
    guarded('memory', memory),
    guarded('disk', disk),
    guarded('shared memory', sharedMemory),
    guarded('open files', openFiles),
  ]);
  return { name: 'system', findings };
}

async function platform(): Promise<Finding> {
  const text = `${os.type()} ${os.release()} ${os.arch()}`;
  if (os.platform() === 'linux' && ['x64', 'arm64'].includes(os.arch())) return ok('platform', text);
  return warn('platform', text, 'Stator is tested on Linux x64 and arm64; the embedded engine may be missing here.');
}

async function cpu(): Promise<Finding> {
  const cores = os.availableParallelism();
  const info = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  const flags = new Set((/^(?:flags|Features)\s*:(.*)$/m.exec(info)?.[1] ?? '').split(/\s+/));
  const known = ['avx', 'avx2', 'fma', 'f16c', 'avx512f', 'avx512_vnni', 'amx_int8', 'asimd', 'sve'].filter((flag) =>
    flags.has(flag),
  );
  const text = `${os.cpus()[0]?.model ?? 'unknown'}, ${cores} hardware threads, ${known.join(' ') || 'no vector extensions found'}`;
  if (os.arch() === 'x64' && info !== '' && !flags.has('avx2'))
    return warn('cpu', text, 'Without AVX2, models compute several times slower.');
  return cores >= 2
    ? ok('cpu', text)
    : warn('cpu', text, 'One hardware thread serves gateway and engine alternately; expect pauses.');
}

async function memory(): Promise<Finding> {
  const info = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const available = Number(/^MemAvailable:\s+(\d+)/m.exec(info)?.[1] ?? Number.NaN) * 1024 || os.freemem();
  const limit = process.constrainedMemory();
  const total = limit > 0 && limit < os.totalmem() ? limit : os.totalmem();
  const text = `${formatBytes(Math.min(available, total))} available of ${formatBytes(total)}`;
  return Math.min(available, total) < MIN_MEMORY_BYTES
    ? warn('memory', text, 'The default model needs about 1 GB; close other programs or raise the limit.')
    : ok('memory', text);
}

async function disk(): Promise<Finding> {
  const folder = cacheDirectory();
  await mkdir(folder, { recursive: true });
  const { bavail, bsize } = await statfs(folder);
  const text = `${formatBytes(bavail * bsize)} free at ${folder}`;
  const advice = 'Free some space, or set XDG_CACHE_HOME to a folder on another disk.';
  if (bavail * bsize < FULL_DISK_BYTES) return fail('disk', text, advice);
  return bavail * bsize < MIN_DISK_BYTES ? warn('disk', text, advice) : ok('disk', text);
}

async function sharedMemory(): Promise<Finding> {
  const name = 'shared memory';
  const advice = 'In a container, give it room: --shm-size=1g.';
  try {
    await access('/dev/shm', constants.W_OK);
  } catch {
    return warn(name, '/dev/shm cannot be written to', advice);
  }
  const { bavail, bsize } = await statfs('/dev/shm');
  const text = `/dev/shm has ${formatBytes(bavail * bsize)}`;
  return bavail * bsize < MIN_SHM_BYTES ? warn(name, text, advice) : ok(name, text);
}

async function openFiles(): Promise<Finding> {
  const limits = await readFile('/proc/self/limits', 'utf8');
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1] ?? 'unknown';
  if (soft !== 'unlimited' && Number(soft) < MIN_OPEN_FILES) {
    return warn('open files', `limit ${soft}`, 'Each client takes one: raise it with `ulimit -n 65536`.');
  }
  return ok('open files', `limit ${soft}`);
}
