import autocannon from 'autocannon';
import { answerFor, NONCE_FIELD, nonceOf, PATH } from '../harness/answer.ts';
import { serveParent } from '../harness/child-side.ts';
import type { LoadCount } from './load-generator.ts';

export interface AutocannonRun {
  readonly port: number;
  readonly connections: number;
  readonly seconds: number;
}

async function run({ port, connections, seconds }: AutocannonRun): Promise<LoadCount> {
  const nonce = nonceOf(1);
  const result = await autocannon({
    url: `http://127.0.0.1:${port}${PATH}`,
    connections,
    duration: seconds,
    headers: { [NONCE_FIELD]: nonce },
    expectBody: answerFor(nonce),
  });
  // autocannon counts time-outs among its errors already.
  const errors = result.errors + result.mismatches + result.non2xx;
  return {
    requests: result['2xx'],
    errors,
    firstError: errors === 0 ? undefined : summary(result),
    seconds: result.duration,
  };
}

function summary({ errors, timeouts, mismatches, non2xx }: Awaited<ReturnType<typeof autocannon>>): string {
  return `${errors} errors (${timeouts} time-outs), ${mismatches} wrong contents, ${non2xx} statuses outside 2xx`;
}

serveParent({}, { run });
