import { RedisServer } from './redis.ts';
import { closedPort, eventually } from './servers.ts';

const SLOTS = 16_384;
const MASTERS = 3;
/** A node that is silent for so long has failed; a replica takes over about twice as much later. No busy machine may decide that. */
const NODE_TIMEOUT_MS = 30_000;
/** For as long as a node that is dead must be replaced. */
const SHORT_NODE_TIMEOUT_MS = 800;

/** Three masters, each with a replica. */
export class TestCluster {
  readonly masters: RedisServer[] = [];
  readonly replicas: RedisServer[] = [];
  readonly #dead = new Set<RedisServer>();

  get url(): string {
    return `redis+cluster://${this.masters.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
  }

  async start(): Promise<void> {
    const buses = await Promise.all(Array.from({ length: 2 * MASTERS }, closedPort));
    const nodes = buses.map((bus) => new RedisServer({ args: (port) => clusterArgs(port, bus) }));
    await Promise.all(nodes.map((node) => node.start()));
    this.masters.push(...nodes.slice(0, MASTERS));
    this.replicas.push(...nodes.slice(MASTERS));
    for (const [i, node] of nodes.entries()) await node.command('CLUSTER', 'SET-CONFIG-EPOCH', `${i + 1}`);
    for (const [i, master] of this.masters.entries()) {
      const [from, to] = [Math.floor((i * SLOTS) / MASTERS), Math.floor(((i + 1) * SLOTS) / MASTERS) - 1];
      await master.command('CLUSTER', 'ADDSLOTSRANGE', `${from}`, `${to}`);
    }
    const [first] = nodes as [RedisServer];
    for (const [i, node] of nodes.entries()) {
      if (node !== first) await first.command('CLUSTER', 'MEET', '127.0.0.1', `${node.port}`, `${buses[i]}`);
    }
    for (const [i, replica] of this.replicas.entries()) {
      const id = String(await (this.masters[i] as RedisServer).command('CLUSTER', 'MYID'));
      await eventually('the nodes have met', () => replica.command('CLUSTER', 'REPLICATE', id));
    }
    const healthy = async (node: RedisServer) => String(await node.command('CLUSTER', 'INFO')).includes('state:ok');
    for (const node of nodes) await eventually('the cluster is whole', () => healthy(node));
    for (const replica of this.replicas) {
      const linked = async () => String(await replica.command('INFO', 'replication')).includes('link_status:up');
      await eventually('the replica has caught up', linked);
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.masters, ...this.replicas].map((node) => node.kill()));
  }

  /** Kills a master. Its replica takes over when what is returned is called, and has done so when that resolves. */
  async fail(index: number): Promise<() => Promise<void>> {
    const [master, replica] = [this.masters[index], this.replicas[index]] as [RedisServer, RedisServer];
    const stand = (still: 'yes' | 'no') => replica.command('CONFIG', 'SET', 'cluster-replica-no-failover', still);
    await stand('yes');
    await master.kill();
    this.#dead.add(master);
    await this.#setTimeouts(SHORT_NODE_TIMEOUT_MS);
    return async () => {
      await stand('no');
      const promoted = async () => String(await replica.command('ROLE')).startsWith('master');
      await eventually('the replica has taken over', promoted);
      await this.#setTimeouts(NODE_TIMEOUT_MS);
    };
  }

  async #setTimeouts(ms: number): Promise<void> {
    const alive = [...this.masters, ...this.replicas].filter((node) => !this.#dead.has(node));
    await Promise.all(alive.map((node) => node.command('CONFIG', 'SET', 'cluster-node-timeout', `${ms}`)));
  }

  /** Moves a slot with its keys from one master to another, as `redis-cli --cluster reshard` does it. */
  async reshard(slot: number, from: RedisServer, to: RedisServer): Promise<void> {
    const [source, target] = await Promise.all(
      [from, to].map(async (node) => String(await node.command('CLUSTER', 'MYID'))),
    );
    await to.command('CLUSTER', 'SETSLOT', `${slot}`, 'IMPORTING', source as string);
    await from.command('CLUSTER', 'SETSLOT', `${slot}`, 'MIGRATING', target as string);
    for (;;) {
      const keys = (await from.command('CLUSTER', 'GETKEYSINSLOT', `${slot}`, '100')) as string[];
      if (keys.length === 0) break;
      await from.command('MIGRATE', '127.0.0.1', `${to.port}`, '', '0', '5000', 'KEYS', ...keys);
    }
    await this.moveSlot(slot, to);
  }

  /** Hands the slot of a key over to another master, as resharding does it in the end. */
  async moveSlot(slot: number, to: RedisServer): Promise<void> {
    const id = String(await to.command('CLUSTER', 'MYID'));
    await to.command('CLUSTER', 'SETSLOT', `${slot}`, 'NODE', id);
    for (const node of this.masters) if (node !== to) await node.command('CLUSTER', 'SETSLOT', `${slot}`, 'NODE', id);
  }
}

const clusterArgs = (port: number, bus: number): string[] => [
  ...['--port', `${port}`, '--cluster-enabled', 'yes', '--cluster-port', `${bus}`],
  ...['--cluster-node-timeout', `${NODE_TIMEOUT_MS}`, '--cluster-config-file', 'nodes.conf'],
  // However long it was without its master.
  ...['--cluster-replica-validity-factor', '0'],
  ...['--repl-diskless-sync-delay', '0', '--save', '', '--appendonly', 'no'],
];
