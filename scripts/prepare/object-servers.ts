// The servers of the object store tests, kept in the user's cache: versitygw (S3) built by go, azurite (Azure) from npm.
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { toolsDirectory } from '#tests/support/etcd-binary.ts';
import {
  azuriteFolder,
  azuriteVersion,
  findAzurite,
  findVersitygw,
  versitygwFile,
  versitygwVersion,
} from '#tests/support/object-server-files.ts';
import { toolEnvironment } from '../support/project.ts';
import { answers, run } from '../support/run.ts';

const TIMEOUT_MS = 10 * 60_000;
const module = `github.com/versity/versitygw/cmd/versitygw@v${versitygwVersion}`;

/** Builds the S3 server, about a minute, unless it is there. Returns why it could not be had, or undefined. */
export async function prepareVersitygw(): Promise<string | undefined> {
  if (findVersitygw() !== undefined) return undefined;
  if (!(await answers('go', ['version']))) return 'there is no go on this machine';
  await mkdir(path.dirname(versitygwFile()), { recursive: true });
  const work = await mkdtemp(path.join(toolsDirectory(), 'versitygw-'));
  try {
    const env = { ...toolEnvironment(), GOBIN: work, GOTOOLCHAIN: 'local', CGO_ENABLED: '0' };
    const build = ['install', '-trimpath', '-ldflags', '-s -w', module];
    const built = await run('go', build, { cwd: work, env, timeoutMs: TIMEOUT_MS });
    if (built.status !== 0) return `go install failed: ${lastLine(built.output)}`;
    await rename(path.join(work, 'versitygw'), versitygwFile());
    return undefined;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Installs the Azure emulator, 186 MB, unless it is there. */
export async function prepareAzurite(): Promise<string | undefined> {
  if (findAzurite() !== undefined) return undefined;
  const folder = azuriteFolder();
  await mkdir(path.dirname(folder), { recursive: true });
  const work = await mkdtemp(`${folder}.`);
  try {
    await writeFile(path.join(work, 'package.json'), '{ "private": true }\n');
    const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', `azurite@${azuriteVersion}`];
    const installed = await run('npm', install, { cwd: work, timeoutMs: TIMEOUT_MS });
    if (installed.status !== 0) return `npm install failed: ${lastLine(installed.output)}`;
    await rm(folder, { recursive: true, force: true });
    await rename(work, folder);
    return undefined;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function lastLine(output: string): string {
  return output.trim().split('\n').at(-1) ?? '';
}
