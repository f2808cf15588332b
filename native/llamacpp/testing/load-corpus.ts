// Child process of gguf.test.ts: loads damaged copies of a model, one after the other, and prints one line for each.
import { closeSync, copyFileSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { engineCreate, engineStop, type ModelHandle, modelFree, modelLoad, vocabLoad } from '../index.ts';
import { testOptions } from './harness.ts';

export interface Damage {
  readonly name: string;
  /** Replaces the whole file; null: a copy of the model. */
  readonly content: string | null;
  /** Cuts the copy. */
  readonly truncate: number | null;
  /** Bytes written into the copy, in base64. */
  readonly patches: readonly { readonly offset: number; readonly bytes: string }[];
}

async function load(file: string): Promise<string> {
  try {
    const handles: ModelHandle[] = [await vocabLoad(file)];
    const model = await modelLoad(file);
    handles.push(model);
    const engine = await engineCreate(model, { ...testOptions, contextLength: 64, kvCells: 256 }, () => {});
    await engineStop(engine);
    for (const handle of handles) modelFree(handle);
    return 'loaded';
  } catch (error) {
    return error instanceof Error && 'code' in error ? `${error.code}: ${error.message}` : `uncoded: ${String(error)}`;
  }
}

const [model = '', folder = '', corpus = ''] = process.argv.slice(2);
const damages: Damage[] = JSON.parse(readFileSync(corpus, 'utf8'));
const file = path.join(folder, 'damaged.gguf');
for (const { name, content, truncate, patches } of damages) {
  // Announced before it is tried: the last name printed is the one that crashed.
  process.stdout.write(`${name}\t`);
  if (content === null) copyFileSync(model, file);
  else writeFileSync(file, Buffer.from(content, 'base64'));
  if (truncate !== null) truncateSync(file, truncate);
  const descriptor = openSync(file, 'r+');
  for (const { offset, bytes } of patches) writeSync(descriptor, Buffer.from(bytes, 'base64'), 0, undefined, offset);
  closeSync(descriptor);
  process.stdout.write(`${(await load(file)).replaceAll('\n', ' ')}\n`);
}
