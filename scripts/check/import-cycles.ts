// Finds import cycles through `#folder/` imports, which the linter does not resolve. Type-only imports do not count: they vanish.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

type Graph = ReadonlyMap<string, readonly string[]>;

const IMPORT = /^(?:import|export)\s+(?!type\b)(?:[^'"]*?\bfrom\s+)?['"]([^'"]+)['"]/gm;
const FOLDERS = ['core', 'lib', 'native', 'services', 'gateway', 'cli', 'sim', 'bench', 'tests', 'scripts'];

/** Every import cycle of the tree at `root`, as the files on it, the first repeated at the end. */
export async function findImportCycles(root: string): Promise<string[][]> {
  return cyclesOf(await importGraph(root));
}

async function importGraph(root: string): Promise<Graph> {
  const graph = new Map<string, string[]>();
  for (const folder of FOLDERS) {
    const names = await readdir(path.join(root, folder), { recursive: true }).catch(() => []);
    for (const name of names) {
      if (!name.endsWith('.ts') || name.includes('node_modules')) continue;
      const file = path.posix.join(folder, name.split(path.sep).join('/'));
      graph.set(file, importsOf(file, await readFile(path.join(root, file), 'utf8')));
    }
  }
  return graph;
}

function importsOf(file: string, source: string): string[] {
  const targets: string[] = [];
  for (const [, specifier = ''] of source.matchAll(IMPORT)) {
    if (specifier.startsWith('#')) targets.push(specifier.slice(1));
    else if (specifier.startsWith('.')) targets.push(path.posix.join(path.posix.dirname(file), specifier));
  }
  return targets;
}

/** Depth-first search; each back edge closes one cycle. */
function cyclesOf(graph: Graph): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (file: string): void => {
    const seenAt = trail.indexOf(file);
    if (seenAt >= 0) cycles.push([...trail.slice(seenAt), file]);
    if (seenAt >= 0 || done.has(file)) return;
    trail.push(file);
    for (const target of graph.get(file) ?? []) visit(target);
    trail.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
  return cycles;
}
