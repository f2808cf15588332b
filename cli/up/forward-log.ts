import type { Logger } from 'pino';

type Level = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace';

const levels: Readonly<Record<number, Level>> = {
  60: 'fatal',
  50: 'error',
  40: 'warn',
  30: 'info',
  20: 'debug',
  10: 'trace',
};

/** Repeats a log record of a child process in this one's log; whatever else it printed is the engine's own chatter. */
export function forwardLine(log: Logger, line: string): void {
  const record = parseRecord(line);
  const level = levels[Number(record?.['level'])];
  if (record === undefined || level === undefined) {
    log.debug(line);
    return;
  }
  const { level: _level, time: _time, pid: _pid, hostname: _hostname, service: _service, msg, ...fields } = record;
  log[level](fields, String(msg ?? ''));
}

/** The message of a record, or the line itself, for crash reports. */
export function lineText(line: string): string {
  const record = parseRecord(line);
  return record === undefined ? line : String(record['msg'] ?? line);
}

function parseRecord(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
