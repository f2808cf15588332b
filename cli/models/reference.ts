import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';

/** What a user may name as a model. */
export type ModelReference =
  | { readonly kind: 'default' }
  | { readonly kind: 'path'; readonly path: string }
  | HubReference;

export interface HubReference {
  readonly kind: 'hub';
  /** organisation/repository. */
  readonly repo: string;
  readonly revision: string;
  /** File, or a part of its name such as Q8_0; undefined: the best one. */
  readonly file: string | undefined;
}

export const DEFAULT_MODEL = 'SmolLM2-135M-Instruct';

const hubPattern = /^hf:([\w.-]+\/[\w.-]+)(?:@([\w./-]+))?(?::(.+))?$/;

/** Reads `hf:org/repo[@revision][:file]`, a file, a directory, or the default model's name. Throws `invalid_argument`. */
export function parseReference(text: string): ModelReference {
  if (text === '' || text.toLowerCase() === DEFAULT_MODEL.toLowerCase()) return { kind: 'default' };
  if (text.startsWith('hf:')) {
    const [, repo, revision = 'main', file] = hubPattern.exec(text) ?? [];
    if (repo === undefined) {
      throw StatorError.invalid('model', `${text} is no model of the hub: write hf:organisation/repository[:file].`);
    }
    if (file?.split('/').includes('..'))
      throw StatorError.invalid('model', `${text}: the file is outside its repository.`);
    return { kind: 'hub', repo, revision, file };
  }
  if (existsSync(text)) return { kind: 'path', path: resolve(text) };
  const hint = /^[\w.-]+\/[\w.-]+$/.test(text) ? ` On the Hugging Face hub it would be hf:${text}.` : '';
  throw StatorError.invalid('model', `There is no model file or directory ${text}.${hint}`);
}
