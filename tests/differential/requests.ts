/** A request that every server is asked. `MODEL` in its body stands for the name that the server gives its model. */
export interface Asked {
  readonly name: string;
  readonly method?: 'GET' | 'DELETE' | 'PUT';
  readonly path: string;
  readonly body?: object;
  /** Instead of a body: what is sent as it is. */
  readonly raw?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const model = 'MODEL';
const messages = [{ role: 'user', content: 'What is the capital of France?' }];
const short = { model, temperature: 0, seed: 1, max_tokens: 8 };
const chat = { ...short, messages };
const completion = { ...short, prompt: 'Once upon a time' };
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'get_weather', parameters } }];
const schema = { type: 'object', properties: { name: { type: 'string', maxLength: 5 } }, required: ['name'] };
const responseFormat = { type: 'json_schema', json_schema: { name: 'person', schema, strict: true } };
const claude = { model, temperature: 0, max_tokens: 8, messages };
/** Whatever is said, it is longer than that. */
const response = { model, temperature: 0, max_output_tokens: 8, input: 'Tell me a long story.' };
const version = { 'anthropic-version': '2023-06-01' };
const tooLong = 'word '.repeat(20_000);

function chats(name: string, changes: object): Asked {
  return { name: `chat: ${name}`, path: '/v1/chat/completions', body: { ...chat, ...changes } };
}

function completions(name: string, changes: object): Asked {
  return { name: `completions: ${name}`, path: '/v1/completions', body: { ...completion, ...changes } };
}

function without(field: string): object {
  return { [field]: undefined };
}

const answers: readonly Asked[] = [
  chats('whole', {}),
  chats('streamed', { stream: true }),
  chats('streamed with usage', { stream: true, stream_options: { include_usage: true } }),
  chats('streamed with usage all along', {
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  }),
  chats('log-probabilities', { logprobs: true, top_logprobs: 2 }),
  chats('streamed log-probabilities', { stream: true, logprobs: true, top_logprobs: 2 }),
  chats('two choices', { n: 2, temperature: 0.9 }),
  chats('ended by its length', { max_tokens: 1 }),
  chats('ended by a stop string', { stop: ['Paris'], max_tokens: 32 }),
  chats('may call tools', { tools }),
  chats('must call a tool', { tools, tool_choice: 'required', max_tokens: 64 }),
  chats('must call a named tool', {
    tools,
    tool_choice: { type: 'function', function: { name: 'get_weather' } },
    max_tokens: 64,
  }),
  chats('must call a tool, streamed', { tools, tool_choice: 'required', max_tokens: 64, stream: true }),
  chats('a schema', { response_format: responseFormat, max_tokens: 64 }),
  chats('a schema, streamed', { response_format: responseFormat, max_tokens: 64, stream: true }),
  chats('any JSON', { response_format: { type: 'json_object' }, max_tokens: 32 }),
  completions('whole', {}),
  completions('streamed', { stream: true }),
  completions('streamed with usage', { stream: true, stream_options: { include_usage: true } }),
  completions('log-probabilities', { logprobs: 2 }),
  completions('the prompt again', { echo: true }),
  completions('several prompts', { prompt: ['One', 'Two'] }),
  completions('token ids', { prompt: [1, 2, 3] }),
  { name: 'embeddings: text', path: '/v1/embeddings', body: { model, input: 'one text' } },
  { name: 'embeddings: base64', path: '/v1/embeddings', body: { model, input: ['a', 'b'], encoding_format: 'base64' } },
  { name: 'tokenize: text', path: '/tokenize', body: { model, prompt: 'one text' } },
  { name: 'tokenize: a conversation', path: '/tokenize', body: { model, messages } },
  { name: 'detokenize', path: '/detokenize', body: { model, tokens: [1, 2, 3] } },
  { name: 'models: all', path: '/v1/models', method: 'GET' },
  { name: 'models: one', path: '/v1/models/MODEL', method: 'GET' },
  { name: 'models: one that is not there', path: '/v1/models/no-such-model', method: 'GET' },
  { name: 'score', path: '/v1/score', body: { model, text_1: 'one', text_2: ['two', 'three'] } },
  { name: 'rerank', path: '/v1/rerank', body: { model, query: 'one', documents: ['two', 'three'] } },
  { name: 'classify', path: '/classify', body: { model, input: 'one text' } },
  { name: 'responses: whole', path: '/v1/responses', body: response },
  {
    name: 'responses: streamed',
    path: '/v1/responses',
    body: { ...response, stream: true },
  },
  { name: 'responses: one that is not there', path: '/v1/responses/resp_none', method: 'GET' },
  { name: 'messages: whole', path: '/v1/messages', body: claude, headers: version },
  { name: 'messages: streamed', path: '/v1/messages', body: { ...claude, stream: true }, headers: version },
  { name: 'messages: a count', path: '/v1/messages/count_tokens', body: { model, messages }, headers: version },
  { name: 'health', path: '/health', method: 'GET' },
];

const refusals: readonly Asked[] = [
  chats('refused: a model that is not there', { model: 'no-such-model' }),
  chats('refused: no model', without('model')),
  chats('refused: no messages', without('messages')),
  chats('refused: an empty list of messages', { messages: [] }),
  chats('refused: messages that are text', { messages: 'Hello' }),
  chats('refused: a role that is none', { messages: [{ role: 'nobody', content: 'Hello' }] }),
  chats('refused: content that is a number', { messages: [{ role: 'user', content: 5 }] }),
  chats('refused: a temperature that is text', { temperature: 'hot' }),
  chats('refused: a temperature of 9', { temperature: 9 }),
  chats('refused: a top_p of 2', { top_p: 2 }),
  chats('refused: no choices', { n: 0 }),
  chats('refused: no tokens', { max_tokens: 0 }),
  chats('refused: fewer than no tokens', { max_tokens: -1 }),
  chats('refused: a field that is unknown', { no_such_field: 1 }),
  chats('refused: alternatives without log-probabilities', { top_logprobs: 2 }),
  chats('refused: too many alternatives', { logprobs: true, top_logprobs: 99 }),
  chats('refused: options of a stream that is none', { stream_options: { include_usage: true } }),
  chats('refused: a prompt that is too long', { messages: [{ role: 'user', content: tooLong }] }),
  chats('refused: more tokens than there is room for', { max_tokens: 1_000_000 }),
  chats('refused: a named tool that is not there', {
    tools,
    tool_choice: { type: 'function', function: { name: 'nothing' } },
  }),
  chats('refused: a forced call without tools', { tool_choice: 'required' }),
  chats('refused: a format that is none', { response_format: { type: 'poem' } }),
  chats('refused: a schema without a schema', { response_format: { type: 'json_schema' } }),
  chats('refused: too long, streamed', { messages: [{ role: 'user', content: tooLong }], stream: true }),
  { name: 'refused: no JSON', path: '/v1/chat/completions', raw: '{"model":' },
  { name: 'refused: JSON that is no object', path: '/v1/chat/completions', raw: '[]' },
  { name: 'refused: an empty body', path: '/v1/chat/completions', raw: '' },
  {
    name: 'refused: another content type',
    path: '/v1/chat/completions',
    raw: JSON.stringify(chat),
    headers: { 'content-type': 'text/plain' },
  },
  { name: 'refused: another method', path: '/v1/chat/completions', method: 'PUT', body: chat },
  { name: 'refused: a path that is none', path: '/v1/no-such-path', body: {} },
  completions('refused: no prompt', without('prompt')),
  completions('refused: an empty list of prompts', { prompt: [] }),
  completions('refused: too many log-probabilities', { logprobs: 99 }),
  completions('refused: token ids that are none', { prompt: [-5] }),
  { name: 'embeddings: refused: no input', path: '/v1/embeddings', body: { model } },
  { name: 'messages: refused: no max_tokens', path: '/v1/messages', body: { model, messages }, headers: version },
  {
    name: 'messages: refused: a model that is not there',
    path: '/v1/messages',
    body: { ...claude, model: 'no-such-model' },
    headers: version,
  },
  { name: 'responses: refused: no input', path: '/v1/responses', body: { model } },
];

/** What a client may ask, and ask wrongly. */
export const asked: readonly Asked[] = [...answers, ...refusals];
