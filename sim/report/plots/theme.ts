/** `auto` follows the viewer's preference for light or dark. */
export type Theme = 'auto' | 'light' | 'dark';

export const themes: readonly Theme[] = ['auto', 'light', 'dark'];

/**
 * What a line stands for. Percentiles are shades of one hue and differ by width and dashes too; the others are colours of
 * Okabe and Ito, which people with any colour vision tell apart.
 */
export type Tone = 'p50' | 'p90' | 'p99' | 'blue' | 'orange' | 'green' | 'purple' | 'yellow' | 'sky';

/** In the order in which unrelated series take them. */
export const seriesTones: readonly Tone[] = ['blue', 'orange', 'green', 'purple', 'yellow', 'sky'];

/** Steps of the scale of heat maps. */
export const heatSteps = 9;

interface Colours {
  readonly paper: string;
  readonly ink: string;
  readonly muted: string;
  readonly axis: string;
  readonly grid: string;
  readonly tones: Readonly<Record<Tone, string>>;
  /** From nothing to the most. */
  readonly heat: readonly string[];
}

const light: Colours = {
  paper: '#ffffff',
  ink: '#1b1f24',
  muted: '#57606a',
  axis: '#8c959f',
  grid: '#e4e8ec',
  tones: {
    p50: '#6aaed6',
    p90: '#2878b8',
    p99: '#0b3c6f',
    blue: '#0072b2',
    orange: '#d55e00',
    green: '#008a64',
    purple: '#b4568c',
    yellow: '#b07c00',
    sky: '#2f9bd0',
  },
  heat: ['#f3f7fb', '#dce9f5', '#c2d9ee', '#9cc5e2', '#6aaed6', '#4090c5', '#2070b4', '#0b4d94', '#08306b'],
};

const dark: Colours = {
  paper: '#12161c',
  ink: '#e8ecf1',
  muted: '#a3adb8',
  axis: '#6b7682',
  grid: '#272e37',
  tones: {
    p50: '#3f86c2',
    p90: '#79b4e6',
    p99: '#d5e8fa',
    blue: '#58a6e6',
    orange: '#f28b4b',
    green: '#35c49a',
    purple: '#dd8fba',
    yellow: '#e6b84a',
    sky: '#8fd0f2',
  },
  heat: ['#1a2029', '#1b3048', '#1f4468', '#275a8a', '#3672ab', '#538dc6', '#7ba9da', '#a9c9eb', '#dceafa'],
};

const fonts = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif';

/** Sizes in pixels of what the layout measures. */
export const fontSizes = { title: 17, subtitle: 12.5, panel: 13.5, label: 12 } as const;

const widths: Readonly<Record<Tone, number>> = {
  p50: 2.5,
  p90: 2,
  p99: 1.6,
  blue: 2,
  orange: 2,
  green: 2,
  purple: 2,
  yellow: 2,
  sky: 2,
};

const dashes: Partial<Record<Tone, string>> = { p99: '5 3', orange: '7 3', purple: '2 3' };

/** The style sheet of a plot. */
export function styleSheet(theme: Theme): string {
  const lines = (Object.keys(widths) as Tone[]).map((tone) => {
    const dash = dashes[tone] === undefined ? '' : `;stroke-dasharray:${dashes[tone]}`;
    return `.line.${tone}{stroke-width:${widths[tone]}${dash}}`;
  });
  const base =
    `text{font-family:${fonts};font-size:${fontSizes.label}px}` +
    `.title{font-size:${fontSizes.title}px;font-weight:600}.subtitle{font-size:${fontSizes.subtitle}px}` +
    `.panel{font-size:${fontSizes.panel}px;font-weight:600}` +
    '.line{fill:none;stroke-linejoin:round;stroke-linecap:round}.grid,.axis,.reference{stroke-width:1;fill:none}' +
    `.reference{stroke-dasharray:3 4}.dot{stroke-width:1.5}${lines.join('')}`;
  if (theme !== 'auto') return base + colourRules(theme === 'dark' ? dark : light);
  return `${base}${colourRules(light)}@media (prefers-color-scheme: dark){${colourRules(dark)}}`;
}

/** Background and text, for the page that holds plots. */
export function pageColours(theme: Theme): string {
  const rule = ({ paper, ink }: Colours): string => `body{background:${paper};color:${ink}}`;
  if (theme !== 'auto') return rule(theme === 'dark' ? dark : light);
  return `${rule(light)}@media (prefers-color-scheme: dark){${rule(dark)}}`;
}

function colourRules({ paper, ink, muted, axis, grid, tones, heat }: Colours): string {
  const series = Object.entries(tones).map(
    ([tone, colour]) => `.line.${tone}{stroke:${colour}}.dot.${tone}{fill:${colour};stroke:${paper}}`,
  );
  const steps = heat.map((colour, step) => `.heat${step}{fill:${colour}}`);
  return (
    `.paper{fill:${paper}}.title,.panel{fill:${ink}}.subtitle,.label{fill:${muted}}.value{fill:${ink}}` +
    `.axis{stroke:${axis}}.grid{stroke:${grid}}.reference{stroke:${muted}}${series.join('')}${steps.join('')}`
  );
}
