// The Go client of the tests: code generated from the contracts with the official plugins, compiled into the user's cache.
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { toolsDirectory } from '#tests/support/etcd-binary.ts';
import { goClient } from '#tests/support/go.ts';
import { inProject, toolEnvironment } from '../support/project.ts';
import { answers, type Outcome, run, runTool } from '../support/run.ts';

const BUILD_TIMEOUT_MS = 10 * 60_000;
const PLUGINS = ['google.golang.org/protobuf/cmd/protoc-gen-go', 'google.golang.org/grpc/cmd/protoc-gen-go-grpc'];
const source = inProject('tests/clients/go');

/** Builds the client unless one of the same sources is there. Returns why it could not be built, or undefined. */
export async function prepareGo(): Promise<string | undefined> {
  if (!(await answers('go', ['version']))) return 'there is no go on this machine';
  const client = goClient();
  const stamp = `${client}.sources`;
  const wanted = await fingerprint();
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return undefined;

  await mkdir(path.dirname(client), { recursive: true });
  const work = await mkdtemp(path.join(toolsDirectory(), 'go-'));
  try {
    const problem = await build(work);
    if (problem !== undefined) return problem;
    await rename(path.join(work, 'client'), client);
    await writeFile(stamp, wanted);
    return undefined;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function build(work: string): Promise<string | undefined> {
  await cp(source, work, { recursive: true });
  const base = toolEnvironment();
  const GOBIN = path.join(work, 'bin');
  const PATH = `${GOBIN}${path.delimiter}${base['PATH'] ?? ''}`;
  const env = { ...base, GOBIN, PATH, GOTOOLCHAIN: 'local', CGO_ENABLED: '0' };
  const inWork = { cwd: work, env, timeoutMs: BUILD_TIMEOUT_MS };
  const plugins = await run('go', ['install', ...PLUGINS], inWork);
  if (plugins.status !== 0) return `go install of the protobuf plugins failed: ${lastLine(plugins)}`;
  const buf = inProject('node_modules/@bufbuild/buf/bin/buf');
  const template = path.join(work, 'buf.gen.yaml');
  const generated = await runTool(buf, ['generate', '--template', template, '-o', work], { env });
  if (generated.status !== 0) return `buf generate failed: ${lastLine(generated)}`;
  const built = await run('go', ['build', '-trimpath', '-o', 'client', '.'], inWork);
  return built.status === 0 ? undefined : `go build failed: ${built.output.trim()}`;
}

async function fingerprint(): Promise<string> {
  const hash = createHash('sha256');
  for (const folder of [source, inProject('proto')]) {
    const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const files = names.map((entry) => path.join(entry.parentPath, entry.name)).sort();
    for (const file of files) hash.update(file).update(await readFile(file));
  }
  return hash.digest('hex');
}

function lastLine(outcome: Outcome): string {
  return outcome.output.trim().split('\n').at(-1) ?? '';
}
