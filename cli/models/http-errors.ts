import { StatorError } from '#lib/errors/errors.ts';

/** What a model host's refusal means and what to do about it. */
export function refused(response: Response, url: string): StatorError {
  const { status } = response;
  const place = new URL(url);
  const shown = `${place.host}${place.pathname}`;
  if (status === 401) {
    return new StatorError(
      'unauthenticated',
      `${shown} wants a token, or does not exist (401). Set HF_TOKEN to a token that may read it; check its spelling.`,
    );
  }
  if (status === 403) {
    return new StatorError(
      'permission_denied',
      `${shown} is refused (403). Its terms may have to be accepted on its page, with the account of HF_TOKEN.`,
    );
  }
  if (status === 404) return new StatorError('not_found', `${shown} does not exist (404).`);
  const retryable = status === 429 || status >= 500;
  return new StatorError('backend_protocol', `${shown} answered ${status}.`, { retryable });
}

/** Whether fetch failed for want of a connection, in contrast to an answer or a programming error. */
export function isConnectionError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // undici: "fetch failed" while connecting, "terminated" while reading.
  return error instanceof TypeError || error.name === 'TimeoutError' || 'syscall' in error;
}
