import { startCluster } from '../support/cluster.ts';
import { type Answered, ask } from './ask.ts';
import { asked } from './requests.ts';

const model = 'ours';

/** What we answer to every request, with llama.cpp on this GGUF file. */
export async function askOurs(file: string): Promise<Record<string, Answered>> {
  const settings = { model: [file], modelName: [model], threads: 1, flashAttention: 'off', contextLength: 1024 };
  await using cluster = await startCluster({ discovery: 'memory', workers: [{ engine: 'llamacpp', settings }] });
  const answers: Record<string, Answered> = {};
  for (const request of asked) answers[request.name] = await ask(cluster.url, model, request);
  return answers;
}
