import type { Section, Status } from './check.ts';

const marks: Readonly<Record<Status, string>> = { ok: '✔', warn: '!', fail: '✖' };

/** The findings as a tree for people; advice stands below what it is for. */
export function formatReport(sections: readonly Section[]): string {
  const lines = sections.flatMap(({ name, findings }) => [
    name,
    ...findings.flatMap((finding, index) => {
      const last = index === findings.length - 1;
      const line = `${last ? '└─' : '├─'} ${marks[finding.status]} ${finding.name}: ${finding.detail}`;
      return finding.advice === undefined ? [line] : [line, `${last ? '  ' : '│ '}     → ${finding.advice}`];
    }),
  ]);
  const count = (status: Status): number =>
    sections.flatMap(({ findings }) => findings).filter((each) => each.status === status).length;
  return `${lines.join('\n')}\n\n${count('ok')} ok, ${count('warn')} to know, ${count('fail')} to mend\n`;
}
