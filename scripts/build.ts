// Writes dist/: what an installed package runs. Addons are compiled there, on the machine they run on, from the sources beside.
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';
import { inProject } from './support/project.ts';
import { runTool } from './support/run.ts';
import { say, since } from './support/say.ts';

const startMs = Date.now();
await rm(inProject('dist'), { recursive: true, force: true });
const tsc = inProject('node_modules/typescript/bin/tsc');
// Source maps would name sources that a package does not carry.
const built = await runTool(tsc, ['-p', 'tsconfig.build.json', '--sourceMap', 'false']);
if (built.status === 0) {
  await copyAddonSources();
  say(`dist/ built in ${since(startMs)}`);
} else {
  say(built.output);
  process.exitCode = 1;
}

/** Beside the compiled facades, as in native/, so that the build and the loading of addons find the same places. */
async function copyAddonSources(): Promise<void> {
  await cp(inProject('native'), inProject('dist', 'native'), {
    recursive: true,
    filter: (from) => path.basename(from) !== 'build' && !/\.tsx?$/.test(from),
  });
}
