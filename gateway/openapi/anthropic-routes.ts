import { anthropicEvent, anthropicMessage, tokenCount } from '../api/anthropic/answers.ts';
import { countTokensRequest, messagesRequest } from '../api/anthropic/schema.ts';
import { anthropicVersion } from './parameters.ts';
import { refusals } from './refusals.ts';
import { answered, type RouteDoc } from './route-doc.ts';

/** Paths of Anthropic's API. */
export const anthropicDocs: readonly RouteDoc[] = [
  {
    path: '/v1/messages',
    method: 'post',
    operationId: 'createMessage',
    summary: "Answers a conversation in Anthropic's API. With `stream` = true: server-sent events of AnthropicEvent.",
    body: messagesRequest,
    routed: true,
    parameters: [anthropicVersion],
    events: anthropicEvent,
    errors: 'anthropic',
    answers: [answered('The answer.', anthropicMessage)],
    limited: true,
    refusals: refusals.inference,
  },
  {
    path: '/v1/messages/count_tokens',
    method: 'post',
    operationId: 'countMessageTokens',
    summary: 'Counts the tokens of a conversation as the model would read it.',
    body: countTokensRequest,
    parameters: [anthropicVersion],
    errors: 'anthropic',
    answers: [answered('The number.', tokenCount)],
    limited: true,
    refusals: refusals.counting,
  },
];
