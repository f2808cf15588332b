import { join } from 'node:path';
import { environment } from '#lib/config/environment.ts';
import { nixlFolder, nixlLibrary, nixlPackage, nixlVersion } from '#lib/transfer/nixl/library.ts';
import { runCommand } from '../models/run-command.ts';
import { type Finding, ok, type Section, warn } from './check.ts';
import type { NixlProbe } from './nixl-probe.ts';

const PROBE_MS = 20_000;
const probe = join(import.meta.dirname, 'nixl-probe.ts');

const advice = `Blocks travel over shared memory and sockets until: pip install --no-deps --target ${nixlFolder()} ${nixlPackage}==${nixlVersion}`;

/** NIXL's library, and each of its plugins: whether it loads and for what memory. */
export async function nixlSection(configured: string | undefined): Promise<Section> {
  const library = nixlLibrary(configured);
  const { failure, plugins } = await run(library);
  if (failure !== null) return { name: 'nixl', findings: [warn('library', failure, advice)] };
  return { name: 'nixl', findings: [ok('library', library), ...plugins.map(finding)] };
}

function finding({ name, memories, failure }: NixlProbe['plugins'][number]): Finding {
  if (failure === null) return ok(`plugin ${name}`, memories.join(', '));
  const what = needs[name] ?? 'the libraries that it is linked with (see ldd)';
  return warn(`plugin ${name}`, 'does not load', `Only needed for its kind of transfer; it wants ${what}.`);
}

const needs: Readonly<Record<string, string>> = {
  GDS: 'CUDA and cuFile (GPUDirect Storage)',
  GDS_MT: 'CUDA and cuFile (GPUDirect Storage)',
  GPUNETIO: 'CUDA and DOCA',
  INFINIA: 'the client of DDN Infinia',
  LIBFABRIC: 'libfabric, hwloc and CUDA',
};

/** In a process of its own: a broken plugin may crash it. */
async function run(library: string): Promise<NixlProbe> {
  const file = probe.replace(/\.ts$/, import.meta.filename.endsWith('.ts') ? '.ts' : '.js');
  const args = [...process.execArgv, file, library];
  const { output } = await runCommand(process.execPath, args, { env: environment.variables, timeoutMs: PROBE_MS });
  const line = output.split('\n').find((each) => each.startsWith('{'));
  if (line !== undefined) return JSON.parse(line) as NixlProbe;
  return { failure: `it cannot be asked: ${output.trim().split('\n').at(-1) ?? ''}`, plugins: [] };
}
