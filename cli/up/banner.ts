export interface ReadyReport {
  readonly url: string;
  readonly models: readonly string[];
  readonly engine: string;
  readonly discovery: string;
  readonly elapsed: string;
}

/** What the user needs next: where, what, and a line to paste. */
export function readyBanner({ url, models, engine, discovery, elapsed }: ReadyReport): string {
  const body = {
    model: models[0],
    messages: [{ role: 'user', content: 'Why is the sky blue?' }],
    temperature: 0,
    stream: true,
  };
  return `
Stator is ready (${elapsed}).

  URL      ${url}/v1
  ${models.length === 1 ? 'Model ' : 'Models'}   ${models.join(', ')}
  Console  ${url}/console
  Docs     ${url}/docs
  Chat     stator chat --url ${url}
  Join     stator worker ${engine} --discovery ${discovery}

  curl -N ${url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'

Ctrl-C stops everything.
`;
}
