import { ensureModel } from '#cli/models/ensure.ts';

/** GGUF file of the default model, or undefined where it cannot be had. The test runner has fetched it already. */
export async function findDefaultModel(): Promise<string | undefined> {
  const prepared = process.env['STATOR_TEST_MODEL'];
  if (prepared !== undefined) return prepared === '' ? undefined : prepared;
  return ensureModel('').then(
    ({ path }) => path,
    () => undefined,
  );
}
