// Measures what each service costs as a process of its own: time until it has registered, and resident memory before and after
// some requests. Prints the README's table. `node scripts/run.cjs scripts/footprint.ts`
import { cpus } from 'node:os';
import { type Member, startCluster } from '#tests/support/cluster.ts';
import { post } from '#tests/support/http.ts';
import { findDefaultModel } from '#tests/support/model.ts';
import { residentBytes } from '#tests/support/proc.ts';
import { say } from './support/say.ts';

const REQUESTS = 50;
const MEBIBYTE = 1024 * 1024;

const model = await findDefaultModel();
const real = { engine: 'llamacpp', settings: { model: [model ?? ''], modelName: ['default-model'] } } as const;
await using cluster = await startCluster({
  workers: [{ engine: 'mocker', settings: { model: 'synthetic' } }, ...(model === undefined ? [] : [real])],
  separateProcesses: true,
  discovery: 'file',
});
const models = await cluster.listsModels(model === undefined ? 1 : 2);
const idle = await Promise.all(cluster.members.map(memory));
for (const name of models) {
  for (let index = 0; index < REQUESTS; index++) await chat(name, index);
}
const used = await Promise.all(cluster.members.map(memory));

say(
  `Measured on ${cpus().length} cores, ${cpus()[0]?.model.trim()}, Node ${process.versions.node}; ${REQUESTS} chats a model.\n`,
);
say('| service | ready after | memory when ready | memory after |\n|---|---|---|---|');
for (const [index, { role, startMs }] of cluster.members.entries()) {
  say(`| ${role} | ${(startMs / 1000).toFixed(1)} s | ${idle[index]} MiB | ${used[index]} MiB |`);
}

async function memory({ pid = -1 }: Member): Promise<number> {
  return Math.round((await residentBytes(pid)) / MEBIBYTE);
}

async function chat(name: string, index: number): Promise<void> {
  const body = { model: name, messages: [{ role: 'user', content: `Say ${index}.` }], max_tokens: 16 };
  const { status, text } = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
  if (status !== 200) throw new Error(text);
}
