/** Fetches the default model unless it is cached. Returns why it could not be had, or undefined. */
export async function prepareModel(): Promise<string | undefined> {
  return 'fetching models is not written yet';
}
