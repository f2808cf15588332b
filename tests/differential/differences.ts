import type { Answered } from './ask.ts';

/** One way in which our answer differs from another server's. */
export interface Difference {
  readonly request: string;
  readonly server: string;
  /** `status`, `media`, `events`, `done`, `error.type`, `error.code`, or the path of a field. */
  readonly place: string;
  readonly ours: string;
  readonly theirs: string;
}

const none = 'none';

/** How our answer to a request differs from another server's. What one refuses and another answers differs by that alone. */
export function compare(request: string, server: string, ours: Answered, theirs: Answered): Difference[] {
  const found: Difference[] = [];
  const note = (place: string, mine: string, other: string): void => {
    if (mine !== other) found.push({ request, server, place, ours: mine, theirs: other });
  };
  note('status', statusOf(ours), statusOf(theirs));
  if (isRefused(ours) !== isRefused(theirs) || theirs.status === 0) return found;
  note('media', ours.media || none, theirs.media || none);
  note('events', (ours.events ?? []).join(' '), (theirs.events ?? []).join(' '));
  note('done', String(ours.done ?? false), String(theirs.done ?? false));
  for (const field of ['type', 'code'] as const)
    note(`error.${field}`, shown(ours.error?.[field]), shown(theirs.error?.[field]));
  const places = new Set([...Object.keys(ours.shape), ...Object.keys(theirs.shape)]);
  for (const place of [...places].sort()) {
    const parent = place.replace(/(\[\]|\.?[^.[\]]+)$/, '');
    // Of a field that only one side has, what lies within is not told again.
    if (parent !== '' && !(parent in ours.shape && parent in theirs.shape)) continue;
    note(place, typesAt(ours, place), typesAt(theirs, place));
  }
  return found;
}

function statusOf({ status }: Answered): string {
  return status === 0 ? 'no answer in time' : String(status);
}

function isRefused({ status }: Answered): boolean {
  return status >= 400;
}

function typesAt({ shape }: Answered, place: string): string {
  return shape[place]?.join(' or ') ?? none;
}

function shown(value: unknown): string {
  return value === undefined ? none : JSON.stringify(value);
}
