import { anthropicError, anthropicMessage, tokenCount } from '../api/anthropic/answers.ts';
import { countTokensRequest, messagesRequest } from '../api/anthropic/schema.ts';
import { type Answer, answered, type RouteDoc } from './route-doc.ts';

const refused: Answer = { status: '4XX', description: 'The request is at fault.', schema: anthropicError };
const failed: Answer = { status: '5XX', description: 'The service is at fault or not ready.', schema: anthropicError };

/** Paths of Anthropic's API. */
export const anthropicDocs: readonly RouteDoc[] = [
  {
    path: '/v1/messages',
    method: 'post',
    operationId: 'createMessage',
    summary: "Answers a conversation in Anthropic's API. With `stream` = true: server-sent events of AnthropicEvent.",
    body: messagesRequest,
    routed: true,
    answers: [answered('The answer.', anthropicMessage), refused, failed],
  },
  {
    path: '/v1/messages/count_tokens',
    method: 'post',
    operationId: 'countMessageTokens',
    summary: 'Counts the tokens of a conversation as the model would read it.',
    body: countTokensRequest,
    answers: [answered('The number.', tokenCount), refused, failed],
  },
];
