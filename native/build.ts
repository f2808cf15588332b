import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { run } from './run-command.ts';

/** Values of gyp variables that an addon's `prepare.ts` works out, for example where the headers of a library are. */
export type GypVariables = Readonly<Record<string, string>>;

/** What a `prepare.ts` beside a binding.gyp exports; it fetches what the addon is built from. */
export type Prepare = (say: (line: string) => void) => Promise<GypVariables>;

const nativeDir = path.dirname(fileURLToPath(import.meta.url));
const root = path.dirname(nativeDir);

/** Names of the folders under native/ that hold a binding.gyp. */
export async function findAddons(): Promise<string[]> {
  const entries = await readdir(nativeDir, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return names.filter((name) => existsSync(path.join(nativeDir, name, 'binding.gyp'))).sort();
}

/**
 * Builds one addon with node-gyp into native/NAME/build/Release/NAME.node, unless what is there was built from the same
 * sources, variables and Node release. Throws with the compiler's last lines when it fails.
 */
export async function buildAddon(name: string, options: BuildOptions): Promise<'built' | 'current'> {
  const folder = path.join(nativeDir, name);
  const variables = { ...headerVariables(), ...(await prepare(folder, options.say)), ...options.variables };
  const stampFile = path.join(folder, 'build', 'Release', '.stator-stamp');
  const stamp = await fingerprint(folder, variables);
  const output = path.join(folder, 'build', 'Release', `${name}.node`);
  if (!options.force && existsSync(output) && (await readText(stampFile)) === stamp) return 'current';

  requireCompiler(await canRun('c++', ['--version']), 'a C++20 compiler (g++ 11 or clang 14, or newer)');
  requireCompiler(await canRun('make', ['--version']), 'make');
  requireCompiler(await canRun('python3', ['--version']), 'python3');
  options.say(`native/${name}: compiling …`);
  const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  const common = [nodeGyp, '--loglevel=error', ...(await nodeDirArgument())];
  const defines = Object.entries(variables).map(([key, value]) => `-D${key}=${value}`);
  await run(process.execPath, [...common, 'configure', '--', ...defines], folder);
  await run(process.execPath, [...common, 'build', `-j${Math.max(1, os.availableParallelism())}`], folder);
  await mkdir(path.dirname(stampFile), { recursive: true });
  await writeFile(stampFile, stamp);
  return 'built';
}

export interface BuildOptions {
  readonly force: boolean;
  readonly variables: GypVariables;
  readonly say: (line: string) => void;
}

async function prepare(folder: string, say: (line: string) => void): Promise<GypVariables> {
  // An installed package runs the compiled form.
  const file = ['prepare.ts', 'prepare.js'].map((name) => path.join(folder, name)).find((name) => existsSync(name));
  if (file === undefined) return {};
  const module: { prepare: Prepare } = await import(pathToFileURL(file).href);
  return module.prepare(say);
}

/** Header folders of packages, for every addon. Found by resolution, because an installation may hoist packages. */
function headerVariables(): GypVariables {
  const resolve = createRequire(import.meta.url).resolve;
  return {
    node_addon_api_include: path.dirname(resolve('node-addon-api/package.json')),
    xxhash_include: path.join(path.dirname(resolve('xxhash-addon/package.json')), 'xxHash'),
  };
}

/** Everything that decides the output: sources of the addon, shared headers, variables, Node's release. */
async function fingerprint(folder: string, variables: GypVariables): Promise<string> {
  const hash = createHash('sha256');
  hash.update(JSON.stringify([process.version, process.arch, Object.entries(variables).sort()]));
  const files = [
    path.join(folder, 'binding.gyp'),
    ...(await sources(path.join(folder, 'src'))),
    ...(await sources(path.join(nativeDir, 'common'))),
  ];
  for (const file of files) hash.update(`\0${path.relative(root, file)}\0`).update(await readFile(file));
  return hash.digest('hex');
}

async function sources(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  const names = await readdir(folder, { recursive: true });
  return names
    .filter((name) => /\.(cc|c|h)$/.test(name))
    .sort()
    .map((name) => path.join(folder, name));
}

/** Headers of the packaged Node; without them node-gyp downloads headers, which fails behind closed networks. */
async function nodeDirArgument(): Promise<string[]> {
  const candidates = [
    path.join(root, 'node_modules', `node-${process.platform}-${process.arch}`),
    path.resolve(path.dirname(process.execPath), '..'),
  ];
  const found = candidates.find((candidate) => existsSync(path.join(candidate, 'include', 'node', 'node_api.h')));
  return found === undefined ? [] : [`--nodedir=${found}`];
}

function requireCompiler(present: boolean, what: string): void {
  if (present) return;
  throw new Error(
    `Building the native addons needs ${what}. On Debian and Ubuntu: apt-get install build-essential python3.`,
  );
}

async function canRun(command: string, args: string[]): Promise<boolean> {
  return run(command, args, nativeDir).then(
    () => true,
    () => false,
  );
}

async function readText(file: string): Promise<string | null> {
  return readFile(file, 'utf8').catch(() => null);
}

async function main(args: readonly string[]): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const force = args.includes('--force');
  const sanitize = args.find((arg) => arg.startsWith('--sanitize='))?.slice('--sanitize='.length);
  const variables: GypVariables = sanitize === undefined ? {} : { stator_sanitize: sanitize };
  const wanted = args.filter((arg) => !arg.startsWith('--'));
  const all = await findAddons();
  const unknown = wanted.find((name) => !all.includes(name));
  if (unknown !== undefined)
    throw new Error(`There is no native/${unknown}/binding.gyp; there are: ${all.join(', ')}.`);
  for (const name of wanted.length > 0 ? wanted : all) {
    const result = await buildAddon(name, { force, variables, say });
    say(`native/${name}: ${result === 'built' ? 'built' : 'up to date'}`);
  }
}

if (process.argv[1] !== undefined && import.meta.filename === path.resolve(process.argv[1])) {
  await main(process.argv.slice(2)).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
