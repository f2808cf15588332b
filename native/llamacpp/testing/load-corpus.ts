// Child process of gguf.test.ts: loads damaged copies of a model, one after the other, and prints one line for each.
import { closeSync, copyFileSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { engineCreate, engineStop, type ModelHandle, modelFree, modelLoad, vocabLoad } from '../index.ts';
import { testOptions } from './harness.ts';

export interface Damage {
  readonly name: string;
  /** Replaces the whole file; null: a copy of the model. */
  readonly content: string | null;
  /** Keeps only so many bytes. */
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
const whole = path.join(folder, 'whole.gguf');
const part = path.join(folder, 'part.gguf');
copyFileSync(model, whole);
const descriptor = openSync(whole, 'r+');

/** Bytes of the model. */
function original(offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const read = openSync(model, 'r');
  readSync(read, bytes, 0, length, offset);
  closeSync(read);
  return bytes;
}

async function tryDamage({ content, truncate, patches }: Damage): Promise<string> {
  if (content !== null || truncate !== null) {
    writeFileSync(part, content === null ? original(0, truncate ?? 0) : Buffer.from(content, 'base64'));
    return load(part);
  }
  for (const { offset, bytes } of patches) writeSync(descriptor, Buffer.from(bytes, 'base64'), 0, undefined, offset);
  const result = await load(whole);
  for (const { offset, bytes } of patches)
    writeSync(descriptor, original(offset, Buffer.from(bytes, 'base64').length), 0, undefined, offset);
  return result;
}

for (const damage of damages) {
  // Announced before it is tried: the last name printed is the one that crashed.
  process.stdout.write(`${damage.name}\t`);
  process.stdout.write(`${(await tryDamage(damage)).replaceAll('\n', ' ')}\n`);
}
