// Records what a server answers: record.ts NAME URL MODEL "WHAT IT IS". docs/compatibility.md says how each was started.
import { writeFile } from 'node:fs/promises';
import { inProject } from '../../scripts/support/project.ts';
import { say } from '../../scripts/support/say.ts';
import { type Answered, ask } from './ask.ts';
import { asked } from './requests.ts';

const [name = '', url = '', model = '', server = ''] = process.argv.slice(2);
const answers: Record<string, Answered> = {};
for (const request of asked) {
  answers[request.name] = await ask(url, model, request);
  say(`${answers[request.name]?.status} ${request.name}`);
}
const file = inProject(`tests/differential/recorded/${name}.json`);
await writeFile(file, `${JSON.stringify({ server, answers }, null, 1)}\n`);
