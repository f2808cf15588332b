import { batchList, batchObject, batchRequest } from '../api/batches/schema.ts';
import { deletedFile, fileList, fileObject, fileUpload } from '../api/files/answers.ts';
import { answered, failed, type RouteDoc, refused } from './route-doc.ts';

type Answers = RouteDoc['answers'];

function plain(
  method: RouteDoc['method'],
  path: string,
  operationId: string,
  summary: string,
  answer: Answers[number],
): RouteDoc {
  return { path, method, operationId, summary, body: null, answers: [answer, refused, failed] };
}

const pages = 'in pages by `limit`, `after` and `order`';

/** Paths of files and batches. */
export const batchDocs: readonly RouteDoc[] = [
  {
    ...plain('post', '/v1/files', 'createFile', 'Uploads a file.', answered('The file.', fileObject)),
    body: fileUpload,
    bodyMedia: 'multipart/form-data',
  },
  plain(
    'get',
    '/v1/files',
    'listFiles',
    `Lists files, ${pages}, of one \`purpose\` if named.`,
    answered('The files.', fileList),
  ),
  plain('get', '/v1/files/{id}', 'getFile', 'Describes a file.', answered('The file.', fileObject)),
  plain('delete', '/v1/files/{id}', 'deleteFile', 'Deletes a file.', answered('It is deleted.', deletedFile)),
  plain('get', '/v1/files/{id}/content', 'getFileContent', 'Gives the content of a file.', {
    status: '200',
    description: 'The content, as application/octet-stream.',
    schema: null,
  }),
  {
    ...plain('post', '/v1/batches', 'createBatch', 'Runs the requests of a file.', answered('The batch.', batchObject)),
    body: batchRequest,
  },
  plain('get', '/v1/batches', 'listBatches', `Lists batches, ${pages}.`, answered('The batches.', batchList)),
  plain('get', '/v1/batches/{id}', 'getBatch', 'Describes a batch.', answered('The batch.', batchObject)),
  plain('post', '/v1/batches/{id}/cancel', 'cancelBatch', 'Ends a batch.', answered('The batch.', batchObject)),
];
