import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync } from 'node:fs';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const startTimeoutMs = 30_000;

/** A real PostgreSQL that is reached by a socket in a folder of its own. */
export interface PostgresServer {
  readonly url: string;
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Ends it and deletes everything. */
  dispose(): Promise<void>;
}

/** Where the server's programs are; undefined: not installed. */
export function findPostgres(): string | undefined {
  const onPath = (process.env['PATH'] ?? '').split(path.delimiter);
  const folders = [
    ...onPath,
    ...globSync('/usr/lib/postgresql/*/bin'),
    ...globSync('/opt/homebrew/opt/postgresql*/bin'),
  ];
  return folders.find((folder) => ['initdb', 'postgres'].every((name) => existsSync(path.join(folder, name))));
}

/** Who may run it: it refuses root, so that another user must. */
function runner(): { readonly uid?: number; readonly gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const idOf = (flag: string): number =>
    Number(spawnSync('id', [flag, 'postgres']).stdout?.toString().trim() || Number.NaN);
  const [uid, gid] = [idOf('-u'), idOf('-g')];
  return Number.isNaN(uid) || Number.isNaN(gid) ? { uid: 65_534, gid: 65_534 } : { uid, gid };
}

export async function startPostgres(programs: string): Promise<PostgresServer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-pg-'));
  const as = runner();
  if (as.uid !== undefined) await chown(folder, as.uid, as.gid ?? as.uid);
  await chmod(folder, 0o755);
  const data = path.join(folder, 'data');
  const made = spawnSync(
    path.join(programs, 'initdb'),
    ['-D', data, '-U', 'stator', '-A', 'trust', '--no-sync', '-E', 'UTF8'],
    {
      ...as,
      cwd: folder,
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    },
  );
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);
  let child: ChildProcess | null = null;
  const start = async (): Promise<void> => {
    child = spawn(path.join(programs, 'postgres'), ['-D', data, '-k', folder, '-h', '', '-F'], {
      ...as,
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    await ready(child);
  };
  const kill = async (): Promise<void> => {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'close');
    child.kill('SIGQUIT');
    await gone;
  };
  const dispose = async (): Promise<void> => {
    await kill();
    await rm(folder, { recursive: true, force: true });
  };
  process.once('exit', () => child?.kill('SIGQUIT'));
  await start();
  return { url: `postgres://stator@localhost/postgres?host=${encodeURIComponent(folder)}`, kill, start, dispose };
}

async function ready(child: ChildProcess): Promise<void> {
  let output = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const deadline = performance.now() + startTimeoutMs;
  while (!output.includes('ready to accept connections')) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`postgres did not start: ${output}`);
    await sleep(20);
  }
}
