import { ensureModel } from '#cli/models/ensure.ts';

/** Fetches the default model unless it is cached. Returns why it could not be had, or undefined. */
export async function prepareModel(): Promise<string | undefined> {
  try {
    const { path } = await ensureModel('');
    process.env['STATOR_TEST_MODEL'] = path;
    return undefined;
  } catch (error) {
    process.env['STATOR_TEST_MODEL'] = '';
    return error instanceof Error ? error.message : String(error);
  }
}
