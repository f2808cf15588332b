// Writes dist/: the JavaScript that an installed package runs. Addons are not built here: native/build.ts does that where they run.
import { rm } from 'node:fs/promises';
import { inProject } from './support/project.ts';
import { runTool } from './support/run.ts';
import { say, since } from './support/say.ts';

const startMs = Date.now();
await rm(inProject('dist'), { recursive: true, force: true });
const tsc = inProject('node_modules/typescript/bin/tsc');
// Source maps would name sources that a package does not carry.
const built = await runTool(tsc, ['-p', 'tsconfig.build.json', '--sourceMap', 'false']);
if (built.status === 0) say(`dist/ built in ${since(startMs)}`);
else {
  say(built.output);
  process.exitCode = 1;
}
