import type { ConsoleState } from '../state.ts';

const tokenName = 'stator-internal-token';

/** The token that administrators of a deployment with one must send; kept as long as the tab is open. */
export function internalToken(): string {
  return sessionStorage.getItem(tokenName) ?? '';
}

export function saveInternalToken(token: string): void {
  sessionStorage.setItem(tokenName, token);
}

export class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** What the gateway says of itself. Throws Refused for an answer that is none, TypeError when it cannot be reached. */
export async function fetchState(): Promise<ConsoleState> {
  const token = internalToken();
  const response = await fetch('/console/state', {
    headers: token === '' ? {} : { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(5000),
  });
  if (response.ok) return (await response.json()) as ConsoleState;
  throw new Refused(response.status, await errorText(response));
}

/** The message of an answer that is an error. */
export async function errorText(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return (JSON.parse(text) as { error: { message: string } }).error.message;
  } catch {
    return `${response.status} ${text.slice(0, 300)}`;
  }
}
