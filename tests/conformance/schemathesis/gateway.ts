import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Context } from 'mocha';
import { makeVenv } from '../../../scripts/support/venv.ts';
import { startCluster } from '../../support/cluster.ts';
import { venvs } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';

const key = 'sk-conformance';

/** A gateway with synthetic workers that Schemathesis asks, with or without keys. */
export interface TestedGateway {
  readonly url: string;
  readonly key: string | undefined;
  /** Operations of its document, but for the one that gives the document, which Schemathesis leaves out, and the one that we do. */
  readonly operations: number;
  stop(): Promise<void>;
}

/** Skips the suite where Schemathesis cannot be installed. `0` is the name that Schemathesis gives what needs one. */
export async function startTested(context: Context, options: { readonly keys: boolean }): Promise<TestedGateway> {
  const problem = await makeVenv(venvs.schemathesis);
  if (problem !== undefined) skip(context, problem);
  const folder = await mkdtemp(path.join(os.tmpdir(), 'stator-conformance-'));
  const apiKeysFile = path.join(folder, 'keys.yaml');
  const hash = `sha256:${createHash('sha256').update(key).digest('hex')}`;
  await writeFile(apiKeysFile, JSON.stringify({ keys: [{ id: 'tested', hash }] }));
  const settings = { model: 'synthetic', aliases: ['0'], stepMs: 0, meanOutputTokens: 8 };
  const cluster = await startCluster({
    discovery: 'memory',
    workers: [{ engine: 'mocker', settings }],
    gateway: { maxFileMib: 1, bodyLimitMib: 1 },
  });
  const asked = options.keys ? await cluster.add('gateway', { apiKeysFile }) : cluster.member('gateway');
  const url = `http://${asked.address}`;
  const document = await fetch(`${url}/openapi.json`);
  const { paths } = (await document.json()) as { paths: Record<string, object> };
  const operations = Object.values(paths).reduce((sum, path) => sum + Object.keys(path).length, -2);
  const stop = async (): Promise<void> => {
    await cluster.stop();
    await rm(folder, { recursive: true });
  };
  return { url, key: options.keys ? key : undefined, operations, stop };
}
