import { serveParent } from '../harness/child-side.ts';
import { Client, type Demand } from './client.ts';
import { type Moments, type Observation, observe } from './observation.ts';

export interface ClientsStart {
  readonly port: number;
  readonly method: string;
  readonly connections: number;
  /** Requests after which the load ends by itself. */
  readonly atMostRequests: number;
  /** After this it ends by itself too, whatever became of the parent. */
  readonly atMostMs: number;
}

interface Load {
  readonly demand: Demand;
  readonly clients: readonly Client[];
  readonly limit: NodeJS.Timeout;
}

const nonces = { next: 0 };
let load: Load | undefined;

function start({ port, method, connections, atMostRequests, atMostMs }: ClientsStart): void {
  // One that nobody asks for any more, because the drill failed: it must not go on beside the new one.
  if (load !== undefined) load.demand.left = 0;
  const demand: Demand = { port, method, nonces, left: atMostRequests, endings: [] };
  const clients = Array.from({ length: connections }, () => new Client(demand));
  const limit = setTimeout(() => {
    demand.left = 0;
  }, atMostMs);
  load = { demand, clients, limit };
}

async function finish(moments: Moments): Promise<Observation> {
  if (load === undefined) throw new Error('no load under way');
  const { demand, clients, limit } = load;
  load = undefined;
  clearTimeout(limit);
  await Promise.all(clients.map((client) => client.stop()));
  return observe(demand.endings, moments);
}

serveParent({}, { start, finish });
