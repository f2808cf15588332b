import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { connect as tcpConnect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '#cli/free-port.test-support.ts';
import { findAzurite, findVersitygw } from './object-server-files.ts';

const START_TIMEOUT_MS = 20_000;

/** A real server of objects on a free loopback port, with an empty bucket or container `stator-test`. */
export interface ObjectServer {
  readonly port: number;
  readonly accessKeyId: string;
  readonly secret: string;
  stop(): Promise<void>;
}

export const bucket = 'stator-test';

/** The S3 server; null where it could not be built (`npm test` builds it). */
export async function startVersitygw(): Promise<ObjectServer | null> {
  const binary = findVersitygw();
  if (binary === undefined) return null;
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-s3-'));
  const data = path.join(folder, 'data');
  await mkdir(path.join(data, bucket), { recursive: true });
  const accessKeyId = 'stator-test-key';
  const secret = 'stator-test-secret-of-s3';
  const env = { ...process.env, ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secret };
  const start = (port: number) =>
    spawn(binary, ['--port', `127.0.0.1:${port}`, '--quiet', 'posix', data], { cwd: folder, env, stdio: 'pipe' });
  return startServer(start, { folder, accessKeyId, secret });
}

/** The Azure emulator; null where it could not be installed. Its container is made by the first client. */
export async function startAzurite(): Promise<ObjectServer | null> {
  const script = findAzurite();
  if (script === undefined) return null;
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-azure-'));
  const accessKeyId = 'statortest';
  const secret = Buffer.from('stator-test-secret-of-azure').toString('base64');
  const env = { ...process.env, AZURITE_ACCOUNTS: `${accessKeyId}:${secret}` };
  const flags = ['--inMemoryPersistence', '--skipApiVersionCheck', '--disableTelemetry', '--silent'];
  const start = (port: number) =>
    spawn(process.execPath, [script, '--blobHost', '127.0.0.1', '--blobPort', String(port), ...flags], {
      cwd: folder,
      env,
      stdio: 'pipe',
    });
  return startServer(start, { folder, accessKeyId, secret });
}

interface Started {
  readonly folder: string;
  readonly accessKeyId: string;
  readonly secret: string;
}

async function startServer(start: (port: number) => ChildProcess, o: Started): Promise<ObjectServer> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const child = start(port);
    const output = collect(child);
    if (child.pid !== undefined) killWithUs(child, child.pid);
    if (await listens(child, port)) return { ...o, port, stop: () => end(child, o.folder) };
    await kill(child);
    // Somebody may have taken the port between our look and the server's.
    if (attempt < 3) continue;
    await rm(o.folder, { recursive: true, force: true });
    throw new Error(`the object server did not start:\n${output()}`);
  }
}

async function listens(child: ChildProcess, port: number): Promise<boolean> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < deadline && child.exitCode === null && child.pid !== undefined) {
    const socket = tcpConnect(port, '127.0.0.1');
    const connected = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (connected) return child.exitCode === null;
    await sleep(25);
  }
  return false;
}

function collect(child: ChildProcess): () => string {
  let output = '';
  const add = (chunk: unknown) => {
    output = (output + String(chunk)).slice(-16 * 1024);
  };
  child.on('error', add);
  child.stdout?.on('data', add);
  child.stderr?.on('data', add);
  return () => output;
}

async function end(child: ChildProcess, folder: string): Promise<void> {
  await kill(child);
  await rm(folder, { recursive: true, force: true });
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** A test run that dies, of whatever cause, leaves no server behind: the end of our pipe is the end of it. */
function killWithUs(child: ChildProcess, pid: number): void {
  const guard = spawn('/bin/sh', ['-c', `cat >/dev/null; kill -9 ${pid}`], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.on('error', () => undefined);
  guard.unref();
  child.once('exit', () => guard.kill('SIGKILL'));
}
