import { html, svg, type TemplateResult } from 'lit-html';
import type { ConsoleState } from '../state.ts';

interface Box {
  readonly title: string;
  readonly detail: string;
  readonly isWell: boolean;
}

const width = 190;
const height = 40;
const gap = 12;
const columnGap = 60;

/** Who is there and who talks to whom: clients' side on the left, engines and their memory on the right. */
export function topology(state: ConsoleState): TemplateResult {
  const of = (kind: string): Box[] =>
    state.services
      .filter((service) => service.kind === kind)
      .map(({ name, address }) => ({
        title: `${kind}${name === '' ? '' : `: ${name}`}`,
        detail: address,
        isWell: true,
      }));
  const workers = state.workers.map(({ name, role, session, address }) => ({
    title: name,
    detail: `${role} · ${address}`,
    isWell: session === 'ready',
  }));
  const columns = [of('gateway'), [...of('tokenizer'), ...of('router')], workers, of('kvbm')].filter(
    (one) => one.length > 0,
  );
  const rows = Math.max(1, ...columns.map((column) => column.length));
  const totalHeight = rows * (height + gap);
  const totalWidth = columns.length * width + Math.max(0, columns.length - 1) * columnGap;
  const middle = (column: readonly Box[], row: number): number =>
    (totalHeight - column.length * (height + gap)) / 2 + row * (height + gap) + height / 2;
  const left = (column: number): number => column * (width + columnGap);
  const lines = columns
    .slice(1)
    .flatMap((column, at) =>
      (columns[at] ?? []).flatMap((_, from) =>
        column.map(
          (__, to) =>
            svg`<line x1=${left(at) + width} y1=${middle(columns[at] ?? [], from)} x2=${left(at + 1)} y2=${middle(column, to)} />`,
        ),
      ),
    );
  const boxes = columns.flatMap((column, at) =>
    column.map(({ title, detail, isWell }, row) => {
      const top = middle(column, row) - height / 2;
      return svg`<g>
        <rect class=${isWell ? 'good' : 'bad'} x=${left(at)} y=${top} width=${width} height=${height} rx="6" />
        <text x=${left(at) + 8} y=${top + 17}>${short(title)}</text>
        <text class="faint" x=${left(at) + 8} y=${top + 32}>${short(detail)}</text>
      </g>`;
    }),
  );
  return html`<svg class="topology" role="img" aria-label="Topology" viewBox="-2 -2 ${totalWidth + 4} ${totalHeight + 4}">
    ${lines}${boxes}
  </svg>`;
}

function short(text: string): string {
  return text.length > 27 ? `${text.slice(0, 26)}…` : text;
}
