import { escapeText } from './svg.ts';
import { pageColours, type Theme } from './theme.ts';

/** A page that needs nothing else: the table as text and every plot. */
export function renderPage(title: string, table: string, plots: readonly string[], theme: Theme): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="${theme === 'auto' ? 'light dark' : theme}">
<title>${escapeText(title)}</title>
<style>
body{max-width:860px;margin:24px auto;padding:0 16px;font-family:system-ui,sans-serif}
pre{overflow-x:auto;font-size:12.5px;line-height:1.45}
figure{margin:32px 0}
figure svg{max-width:100%;height:auto}
${pageColours(theme)}
</style>
</head>
<body>
<h1>${escapeText(title)}</h1>
<pre>${escapeText(table)}</pre>
${plots.map((svg) => `<figure>${svg.trim()}</figure>`).join('\n')}
</body>
</html>
`;
}
