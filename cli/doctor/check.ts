export type Status = 'ok' | 'warn' | 'fail';

/** One finding. `advice` says what to do, wherever the status is not ok. */
export interface Finding {
  readonly name: string;
  readonly status: Status;
  readonly detail: string;
  readonly advice?: string;
}

export interface Section {
  readonly name: string;
  readonly findings: readonly Finding[];
}

export function ok(name: string, detail: string): Finding {
  return { name, status: 'ok', detail };
}

export function warn(name: string, detail: string, advice: string): Finding {
  return { name, status: 'warn', detail, advice };
}

export function fail(name: string, detail: string, advice: string): Finding {
  return { name, status: 'fail', detail, advice };
}

/** A check that itself breaks is a finding too. */
export async function guarded(name: string, check: () => Promise<Finding>): Promise<Finding> {
  try {
    return await check();
  } catch (error) {
    return warn(
      name,
      `could not be checked: ${error instanceof Error ? error.message : String(error)}`,
      'Check it by hand.',
    );
  }
}
