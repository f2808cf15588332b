// A virtual environment with the Python packages that tests drive the gateway with, kept in the user's cache.
import { venvs } from '#tests/support/python.ts';
import { makeVenv } from '../support/venv.ts';

/** Makes the environment unless it is there already. Returns why it could not be made, or undefined. */
export function preparePython(): Promise<string | undefined> {
  return makeVenv(venvs.official);
}
