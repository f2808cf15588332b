import { existsSync } from 'node:fs';

/** GGUF file of the default model, or undefined where it could not be fetched. */
export async function findDefaultModel(): Promise<string | undefined> {
  const given = process.env['STATOR_TEST_MODEL'];
  return given !== undefined && existsSync(given) ? given : undefined;
}
